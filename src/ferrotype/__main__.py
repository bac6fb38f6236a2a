"""The command ``ferrotype``, also as ``python -m ferrotype``: set up signals first, then import the rest."""

import os
import signal
import sys


def main() -> None:
    """Run the command line.

    Ctrl-C ends the command without a word as long as it is only imported, and ``serve`` until it listens: nothing
    has begun that would have to be taken back. A SIGHUP waits meanwhile for the supervisor, who is who it is for.
    """
    serving = sys.argv[1:2] == ["serve"]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else whoever started us ignores it
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if serving:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    _keep_standard_streams()
    from ferrotype import cli

    if not serving and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main(prog_name="ferrotype")


def _keep_standard_streams() -> None:
    """Open those that are closed: else a file or a socket gets its number, and what somebody says there."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - a descriptor, and open to the end
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


if __name__ == "__main__":
    main()
