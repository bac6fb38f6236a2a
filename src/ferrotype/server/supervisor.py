"""The processes of ``ferrotype serve``: a supervisor, and workers that share one listening socket.

    supervisor   binds, forks, restarts what dies, passes orders on; opens neither database nor threads
    worker       one loop, one application, one HTTP server: see ``worker``

    SIGTERM, SIGINT   listen no more; let what runs finish within ``graceful_timeout``; a second one: end now
    SIGHUP            read the configuration again; a bad one changes nothing

The first worker starts alone. When it cannot, the others could not either, and the supervisor gives up.
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
    DRAIN,
    HURRY,
    READY,
    RELOAD,
    SIGNALS,
    START_FAILED,
    UNDO_SECONDS,
    Build,
    Job,
    ReadConfig,
    work,
)

log = logging.getLogger("ferrotype.server")

#: seconds from a second SIGTERM to SIGKILL
HURRY_SECONDS = 10.0
#: a worker that lives shorter than this is restarted later and later, up to the second figure
QUICK_DEATH, LONGEST_BACK_OFF = 1.0, 30.0
#: seconds until a fork is tried again for which there were no processes, memory or descriptors left
NO_ROOM = 2.0


@dataclass
class Worker:
    """A child as the supervisor sees it."""

    pid: int
    channel: socket.socket
    born: float
    ready: bool = False


@dataclass
class Crew:
    """The supervisor's state."""

    config: Config
    reload_config: ReadConfig
    build: Build
    listener: socket.socket
    workers: dict[int, Worker] = field(default_factory=dict)
    #: a worker has been ready once
    started: bool = False
    quick_deaths: int = 0
    not_before: float = 0.0
    #: how often we were told to stop
    stops: int = 0
    #: when what is left is killed
    kill_at: float = math.inf


def serve(config: Config, reload_config: ReadConfig, build: Build, greet: Callable[[str], None]) -> int:
    """Serve until told to stop; return the exit code. ``greet`` is given the URL as soon as there is one."""
    try:
        listener = listen(config.server)
    except OSError as error:
        log.error("%s", why_not_listening(config.server, error))
        return START_FAILED
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    greet(url)
    log.info("listening on %s", url)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with listener:
            return supervise(Crew(config, reload_config, build, listener))
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


def why_not_listening(server: Server, error: OSError) -> str:
    """Return a sentence that says what to do."""
    where = f"cannot listen on {server.bind_host}, port {server.bind_port}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine has no such address; correct bind_host"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another process uses the port; stop it or choose another bind_port"
    if error.errno == errno.EACCES:
        return f"{where}: this user may not use the port; choose a bind_port from 1024 up or grant the right"
    return f"{where}: {error.strerror or error}"


# The supervisor


def supervise(crew: Crew) -> int:
    """Keep the workers running until told to stop."""
    spawn(crew)
    while crew.workers or not crew.stops:
        wait = 0.0 if lacks_a_worker(crew) else 1.0 if crew.started and not crew.stops else 0.1
        received = signal.sigtimedwait(SIGNALS, min(wait, max(0.0, crew.kill_at - time.monotonic())))
        number = received.si_signo if received else None
        if number in (signal.SIGTERM, signal.SIGINT):
            stop(crew)
        elif number == signal.SIGHUP:
            reload(crew)
        look_for_ready(crew)
        bury(crew)
        if not crew.started and not crew.workers and not crew.stops:
            log.error("the first worker could not start, so the service does not; the reason is above")
            return START_FAILED
        if time.monotonic() >= crew.kill_at:
            kill(crew)
        if lacks_a_worker(crew):
            add_a_worker(crew)
    log.info("stopped")
    return 0


def lacks_a_worker(crew: Crew) -> bool:
    """Say whether another worker should be started now."""
    wanted = crew.started and not crew.stops and len(crew.workers) < crew.config.server.workers
    return wanted and time.monotonic() >= crew.not_before


def add_a_worker(crew: Crew) -> None:
    """Start one more worker; where the machine has no room for it, try again later."""
    try:
        spawn(crew)
    except OSError as error:
        crew.not_before = time.monotonic() + NO_ROOM
        log.error("no worker can be started: %s; tried again in %g s", error.strerror or error, NO_ROOM)


def spawn(crew: Crew) -> None:
    """Fork a worker."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()  # or the worker would write it again
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid:
        theirs.close()
        ours.setblocking(False)
        crew.workers[pid] = Worker(pid, ours, time.monotonic())
        return
    code = START_FAILED
    try:
        # A copy of the supervisor's ends would keep the other workers from noticing its death.
        for channel in (ours, *(worker.channel for worker in crew.workers.values())):
            channel.close()
        code = work(Job(crew.config, crew.reload_config, crew.build, crew.listener, theirs))
    except BaseException:
        log.exception("worker %s failed", os.getpid())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)  # what lies above this frame is the supervisor's business


def order(crew: Crew, what: bytes) -> None:
    """Pass an order on. A worker that cannot be told is dead, which ``bury`` finds out."""
    for worker in crew.workers.values():
        try:
            worker.channel.send(what)
        except OSError as error:
            log.debug("worker %s could not be told: %s", worker.pid, error)


def stop(crew: Crew) -> None:
    """Follow a SIGTERM or SIGINT: the first is gentle, the second is not, the third is the end."""
    crew.stops += 1
    if crew.stops == 1:
        grace = crew.config.server.graceful_timeout
        log.info("stopping: no new connections; what runs has %g seconds", grace)
        crew.listener.close()
        crew.kill_at = time.monotonic() + grace + UNDO_SECONDS + HURRY_SECONDS
        order(crew, DRAIN)
        for worker in crew.workers.values():
            if not worker.ready:
                os.kill(worker.pid, signal.SIGTERM)  # it still starts, and does not listen to orders yet
    elif crew.stops == 2:
        log.warning("told to stop again: what runs is cancelled now")
        crew.kill_at = time.monotonic() + HURRY_SECONDS
        order(crew, HURRY)
    else:
        crew.kill_at = time.monotonic()


def kill(crew: Crew) -> None:
    crew.kill_at = math.inf
    for pid in crew.workers:
        log.error("worker %s did not end in time and is killed; what it left is cleaned up by the next start", pid)
        os.kill(pid, signal.SIGKILL)


def reload(crew: Crew) -> None:
    """Read the configuration again and have the workers do the same."""
    try:
        crew.config, waiting = crew.reload_config(crew.config)
    except Exception as error:
        log.error("the configuration was not reloaded, the service goes on with the one it has: %s", error)
        return
    for sentence in waiting:
        log.warning("%s", sentence)
    log.info("the configuration was reloaded")
    order(crew, RELOAD)


def look_for_ready(crew: Crew) -> None:
    for worker in crew.workers.values():
        if worker.ready:
            continue
        try:
            worker.ready = worker.channel.recv(16).startswith(READY)
        except (BlockingIOError, ConnectionResetError):
            continue  # still starting, or dead with an order unread: bury() sees to that
        crew.started = crew.started or worker.ready


def bury(crew: Crew) -> None:
    """Forget the workers that ended, and decide when others take their places."""
    for worker in list(crew.workers.values()):
        pid, status = os.waitpid(worker.pid, os.WNOHANG)
        if not pid:
            continue
        del crew.workers[pid]
        worker.channel.close()
        code = os.waitstatus_to_exitcode(status)
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        if crew.stops:
            log.info("worker %s ended %s", pid, how)
            continue
        lived = time.monotonic() - worker.born
        if worker.ready and lived >= QUICK_DEATH:
            crew.quick_deaths, delay = 0, 0.0
        else:
            crew.quick_deaths += 1
            delay = min(0.5 * 2**crew.quick_deaths, LONGEST_BACK_OFF)
        crew.not_before = time.monotonic() + delay
        next_one = f"; another one starts in {delay:g} s" if crew.started else ""
        log.error("worker %s ended %s after %.1f s%s", pid, how, lived, next_one)
