"""The supervisor of ``ferrotype serve`` and its workers, which share one listening socket.

    supervisor   binds, forks, restarts workers that die, passes commands on; opens no database and no threads
    worker       one event loop, one application, one HTTP server: see ``worker``

    SIGTERM, SIGINT   stop listening, finish running requests within ``graceful_timeout``; a second one cancels them
    SIGHUP            reload the configuration; an invalid one changes nothing

The first worker starts alone. If it cannot start, the others could not either, and the supervisor exits.
"""

import errno
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ferrotype.config import Config
from ferrotype.config.server import Server
from ferrotype.server.worker import (
    CANCEL,
    DRAIN,
    READY,
    RELOAD,
    ROLLBACK_SECONDS,
    SIGNALS,
    START_FAILED,
    Build,
    ReadConfig,
    WorkerContext,
    run_worker,
)

log = logging.getLogger("ferrotype.server")

#: seconds from a second SIGTERM to SIGKILL
KILL_DELAY = 10.0
#: seconds: a worker that ran for less is restarted with exponential back-off, up to the second figure
MIN_UPTIME, MAX_BACK_OFF = 1.0, 30.0
#: seconds until a fork is retried that failed for lack of processes, memory or descriptors
FORK_RETRY = 2.0


@dataclass
class Worker:
    """A child process as the supervisor sees it."""

    pid: int
    channel: socket.socket
    started_at: float
    ready: bool = False


@dataclass
class Supervisor:
    """The supervisor's state."""

    config: Config
    reload_config: ReadConfig
    build: Build
    listener: socket.socket
    workers: dict[int, Worker] = field(default_factory=dict)
    #: a worker has been ready once
    started: bool = False
    #: workers in a row that ran for less than MIN_UPTIME
    failed_starts: int = 0
    #: when the next worker may be started
    not_before: float = 0.0
    stop_requests: int = 0
    #: when the remaining workers are killed
    kill_at: float = math.inf


def serve(config: Config, reload_config: ReadConfig, build: Build, print_banner: Callable[[str], None]) -> int:
    """Serve until stopped by a signal; return the exit code. ``print_banner`` gets the URL once the port is bound."""
    try:
        listener = listen(config.server)
    except OSError as error:
        log.error("%s", explain_bind_error(config.server, error))
        return START_FAILED
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print_banner(url)
    log.info("listening on %s", url)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with listener:
            return supervise(Supervisor(config, reload_config, build, listener))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def listen(server: Server) -> socket.socket:
    """Return a listening socket."""
    found = socket.getaddrinfo(server.bind_host, server.bind_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, _, _, address = found[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(server.backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def explain_bind_error(server: Server, error: OSError) -> str:
    """Return a sentence that says why the port cannot be bound and what to do."""
    where = f"cannot listen on {server.bind_host}, port {server.bind_port}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; correct bind_host"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another process uses the port; stop it or choose another bind_port"
    if error.errno == errno.EACCES:
        return f"{where}: this user may not use the port; choose a bind_port from 1024 up or grant the right"
    return f"{where}: {error.strerror or error}"


# The main loop


def supervise(supervisor: Supervisor) -> int:
    """Keep the workers running until stopped by a signal; return the exit code."""
    spawn(supervisor)
    while supervisor.workers or not supervisor.stop_requests:
        handle_signal(supervisor, signal.sigtimedwait(SIGNALS, signal_timeout(supervisor)))
        poll_ready(supervisor)
        reap(supervisor)
        if not supervisor.started and not supervisor.workers and not supervisor.stop_requests:
            log.error("the first worker could not start; stopping (see the error above)")
            return START_FAILED
        if time.monotonic() >= supervisor.kill_at:
            kill(supervisor)
        if needs_worker(supervisor):
            add_worker(supervisor)
    log.info("stopped")
    return 0


def signal_timeout(supervisor: Supervisor) -> float:
    """Return how many seconds to wait for a signal before looking after the workers again."""
    if needs_worker(supervisor):
        return 0.0
    # While workers start or stop, nothing signals that they are ready, or that it is time to kill them.
    interval = 1.0 if supervisor.started and not supervisor.stop_requests else 0.1
    return min(interval, max(0.0, supervisor.kill_at - time.monotonic()))


def handle_signal(supervisor: Supervisor, received: signal.struct_siginfo | None) -> None:
    number = received.si_signo if received else None
    if number in (signal.SIGTERM, signal.SIGINT):
        stop(supervisor)
    elif number == signal.SIGHUP:
        reload(supervisor)


# Workers


def needs_worker(supervisor: Supervisor) -> bool:
    """Return whether another worker should be started now."""
    missing = len(supervisor.workers) < supervisor.config.server.workers
    allowed = supervisor.started and not supervisor.stop_requests
    return missing and allowed and time.monotonic() >= supervisor.not_before


def add_worker(supervisor: Supervisor) -> None:
    """Start one more worker; if the fork fails, try again later."""
    try:
        spawn(supervisor)
    except OSError as error:
        supervisor.not_before = time.monotonic() + FORK_RETRY
        log.error("no worker can be started: %s; retrying in %g s", error.strerror or error, FORK_RETRY)


def spawn(supervisor: Supervisor) -> None:
    """Fork a worker."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()  # Otherwise the worker would inherit the buffer and write it again.
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid:
        theirs.close()
        ours.setblocking(False)
        supervisor.workers[pid] = Worker(pid, ours, time.monotonic())
        return
    code = START_FAILED
    try:
        # A copy of the supervisor's ends would keep the other workers from noticing that it died.
        for channel in (ours, *(worker.channel for worker in supervisor.workers.values())):
            channel.close()
        code = run_worker(
            WorkerContext(supervisor.config, supervisor.reload_config, supervisor.build, supervisor.listener, theirs)
        )
    except BaseException:
        log.exception("worker %s failed", os.getpid())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)  # The frames above this one belong to the supervisor.


def poll_ready(supervisor: Supervisor) -> None:
    """Note which workers have started."""
    for worker in supervisor.workers.values():
        if worker.ready:
            continue
        try:
            worker.ready = worker.channel.recv(16).startswith(READY)
        except (BlockingIOError, ConnectionResetError):
            continue  # Still starting; or dead with a command unread, which reap() handles.
        supervisor.started = supervisor.started or worker.ready


def reap(supervisor: Supervisor) -> None:
    """Collect the workers that ended, and decide when others replace them."""
    for worker in list(supervisor.workers.values()):
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if not pid:
            continue
        del supervisor.workers[pid]
        worker.channel.close()
        code = os.waitstatus_to_exitcode(status)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        if supervisor.stop_requests:
            log.info("worker %s ended %s", pid, how)
            continue
        uptime = time.monotonic() - worker.started_at
        if worker.ready and uptime >= MIN_UPTIME:
            supervisor.failed_starts, delay = 0, 0.0
        else:
            supervisor.failed_starts += 1
            delay = min(0.5 * 2**supervisor.failed_starts, MAX_BACK_OFF)
        supervisor.not_before = time.monotonic() + delay
        next_one = f"; starting another one in {delay:g} s" if supervisor.started else ""
        log.error("worker %s ended %s after %.1f s%s", pid, how, uptime, next_one)


# Commands


def broadcast(supervisor: Supervisor, command: bytes) -> None:
    """Send a command to every worker. One that cannot be reached is dead, which ``reap`` finds out."""
    for worker in supervisor.workers.values():
        try:
            worker.channel.send(command)
        except OSError as error:
            log.debug("command not delivered: worker=%s error=%s", worker.pid, error)


def stop(supervisor: Supervisor) -> None:
    """Handle SIGTERM or SIGINT: the first drains the workers, the second cancels their requests, the third kills."""
    supervisor.stop_requests += 1
    if supervisor.stop_requests == 1:
        grace = supervisor.config.server.graceful_timeout
        log.info("stopping: no new connections; running requests have %g seconds", grace)
        supervisor.listener.close()
        supervisor.kill_at = time.monotonic() + grace + ROLLBACK_SECONDS + KILL_DELAY
        broadcast(supervisor, DRAIN)
        for worker in supervisor.workers.values():
            if not worker.ready:
                os.kill(worker.pid, signal.SIGTERM)  # It is still starting and does not read commands yet.
    elif supervisor.stop_requests == 2:
        log.warning("second stop signal: cancelling running requests")
        supervisor.kill_at = time.monotonic() + KILL_DELAY
        broadcast(supervisor, CANCEL)
    else:
        supervisor.kill_at = time.monotonic()


def kill(supervisor: Supervisor) -> None:
    """Kill the workers that remain."""
    supervisor.kill_at = math.inf
    for pid in supervisor.workers:
        log.error("worker %s did not stop in time; killing it (the next start cleans up after it)", pid)
        os.kill(pid, signal.SIGKILL)


def reload(supervisor: Supervisor) -> None:
    """Reload the configuration, and have the workers do the same."""
    try:
        supervisor.config, needs_restart = supervisor.reload_config(supervisor.config)
    except Exception as error:
        log.error("configuration not reloaded; keeping the running one: %s", error)
        return
    for sentence in needs_restart:
        log.warning("%s", sentence)
    log.info("configuration reloaded")
    broadcast(supervisor, RELOAD)
