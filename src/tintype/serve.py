"""The processes of ``tintype serve``: a supervisor, and workers that share one listening socket.

    supervisor   binds, forks, restarts what dies, passes orders on; opens neither database nor threads
    worker       one loop, one application, one HTTP server

    SIGTERM, SIGINT   listen no more; let what runs finish within ``graceful_timeout``; a second one: end now
    SIGHUP            read the configuration again; a bad one changes nothing

The first worker starts alone. When it cannot, the others could not either, and the supervisor gives up.
"""

import asyncio
import errno
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import uvicorn
import uvloop

from tintype.config.model import Config, Server
from tintype.model.errors import TintypeError
from tintype.web import protocol

log = logging.getLogger("tintype.serve")

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}

#: what the supervisor writes to a worker, and what a worker writes back
DRAIN, HURRY, RELOAD, READY = b"d", b"h", b"r", b"+"

#: seconds that cancelled requests get to take back what they had done
UNDO_SECONDS = 30.0
#: seconds from a second SIGTERM to SIGKILL
HURRY_SECONDS = 10.0
#: a worker that lives shorter than this is restarted later and later, up to the second figure
QUICK_DEATH, LONGEST_BACK_OFF = 1.0, 30.0

START_FAILED = 1

Build = Callable[[Config], Awaitable["Application"]]
ReadConfig = Callable[[], Config]


class Application(Protocol):
    """What a worker runs: an ASGI application that opens its things in ``start`` and closes them in ``stop``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def start(self) -> None:
        """Open database and stores. Whatever is raised ends the worker."""

    async def stop(self) -> None:
        """Close them. No request runs any more."""

    def reload(self, config: Config) -> None:
        """Go on with ``config``, which has been checked."""


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


def serve(config: Config, reload_config: ReadConfig, build: Build) -> int:
    """Serve until told to stop; return the exit code."""
    try:
        listener = listen(config.server)
    except OSError as error:
        log.error("%s", why_not_listening(config.server, error))
        return START_FAILED
    host, port = listener.getsockname()[:2]
    log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
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
        wait = 1.0 if crew.started and not crew.stops else 0.1
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
        if crew.started and not crew.stops and time.monotonic() >= crew.not_before:
            for _ in range(crew.config.server.workers - len(crew.workers)):
                spawn(crew)
    log.info("stopped")
    return 0


def spawn(crew: Crew) -> None:
    """Fork a worker."""
    ours, theirs = socket.socketpair()
    sys.stdout.flush()  # or the worker would write it again
    pid = os.fork()
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
        code = work(crew, theirs)
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
        config = crew.reload_config()
    except Exception as error:
        log.error("the configuration was not reloaded, the service goes on with the one it has: %s", error)
        return
    old, new = crew.config.server, config.server
    fixed = "bind_host", "bind_port", "workers", "backlog", "keep_alive"
    if changed := [name for name in fixed if getattr(old, name) != getattr(new, name)]:
        log.warning("restart the service to change %s", ", ".join(changed))
    crew.config = config
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
        log.error("worker %s ended %s after %.1f s; another one starts in %g s", pid, how, lived, delay)


def work(crew: Crew, channel: socket.socket) -> int:
    """Be a worker; return the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to every process: the supervisor decides
    # Before there are threads: they, and what they start, would keep the signals blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run_worker(crew, channel))


async def run_worker(crew: Crew, channel: socket.socket) -> int:
    try:
        app = await crew.build(crew.config)
        await app.start()
    except (TintypeError, OSError) as error:
        log.error("the service cannot start: %s", error)
        return START_FAILED
    except Exception:
        log.exception("the service cannot start")
        return START_FAILED
    server = http_server(app, crew.config.server)
    await server.startup(sockets=[crew.listener])
    ticking = asyncio.create_task(server.main_loop())  # keeps the Date header right
    sys.setswitchinterval(0.001)  # The loop waits so long at most for a thread that computes.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # A page of a thousand images is not garbage a dozen times over.
    stopping, hurrying = asyncio.Event(), asyncio.Event()

    def obey() -> None:
        try:
            orders = channel.recv(64)
        except ConnectionResetError:  # the other way in which the end of a supervisor shows
            orders = b""
        if not orders:
            log.error("the supervisor is gone, so worker %s ends", os.getpid())
            loop.remove_reader(channel)
        if not orders or DRAIN in orders:
            stopping.set()
        if HURRY in orders:
            stopping.set()
            hurrying.set()
        if RELOAD in orders:
            swap(crew, app)

    loop = asyncio.get_running_loop()
    channel.setblocking(False)
    channel.send(READY)
    loop.add_reader(channel, obey)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    log.info("worker %s is ready", os.getpid())

    await stopping.wait()
    crew.listener.close()
    await drain(server, crew.config.server.graceful_timeout, hurrying)
    await app.stop()
    server.should_exit = True
    await ticking
    return 0


def http_server(app: Application, options: Server) -> uvicorn.Server:
    """Return a server that waits for ``startup``; its limits are the protocol's."""
    config = uvicorn.Config(
        cast(Any, app),
        http=protocol.protocol_class(protocol.Limits()),
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=options.backlog,
        timeout_keep_alive=math.ceil(options.keep_alive),
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


def swap(crew: Crew, app: Application) -> None:
    """Go on with the configuration of now."""
    try:
        config = crew.reload_config()
        app.reload(config)
    except Exception:
        log.exception("worker %s goes on with the configuration it has", os.getpid())
    else:
        crew.config = config


async def drain(server: uvicorn.Server, grace: float, hurrying: asyncio.Event) -> None:
    """Let running requests finish, then cancel them and wait until they have taken back what they did.

    uvicorn would cancel them and close the application under their undo.
    """
    state = server.server_state
    for accepting in server.servers:
        accepting.close()
    began = time.monotonic()
    while state.connections or state.tasks:
        for connection in list(state.connections):
            connection.shutdown()  # again, for those that were accepted at the last moment
        if hurrying.is_set() or time.monotonic() >= began + grace:
            break
        await asyncio.sleep(0.05)
    if running := set(state.tasks):
        log.warning("%s requests had to be cancelled", len(running))
        for task in running:
            task.cancel()
        if left := (await asyncio.wait(running, timeout=UNDO_SECONDS))[1]:
            log.error("%s requests could not take back in time what they did; upkeep will", len(left))
    for _ in range(10):
        if state.connections:
            await asyncio.sleep(0.05)  # the last answers are on their way
    for connection in list(state.connections):
        connection.transport.abort()
