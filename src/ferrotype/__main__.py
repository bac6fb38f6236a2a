"""The command ``ferrotype``, also as ``python -m ferrotype``: set up signals first, then import the rest."""

import os
import signal
import sys


def main() -> None:
    """Run the command line.

    Exit quietly on Ctrl-C while modules are being imported and, for ``serve``, until the socket is bound: there is
    nothing to clean up yet. SIGHUP is blocked until the supervisor is ready to handle it.
    """
    serving = sys.argv[1:2] == ["serve"]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise the parent process ignores it
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if serving:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    _keep_standard_streams()
    from ferrotype import cli

    if not serving and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main(prog_name="ferrotype")


def _keep_standard_streams() -> None:
    """Reopen closed standard streams on /dev/null; a file or socket could otherwise get fd 0-2 and stray output."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - a descriptor, and open to the end
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115


if __name__ == "__main__":
    main()
