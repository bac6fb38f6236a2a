"""One worker: a process with one loop, one application and one HTTP server.

It starts when its application does, says so on the channel to its supervisor, and follows the orders that come back.
"""

import asyncio
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import uvicorn
import uvloop

from ferrotype.config import Config
from ferrotype.config.server import Server
from ferrotype.model.errors import FerrotypeError
from ferrotype.server.connection import Limits, protocol_class
from ferrotype.server.malloc import keep_memory

log = logging.getLogger("ferrotype.server")

#: what a process of ours listens to
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}

#: what the supervisor writes to a worker, and what a worker writes back
DRAIN, HURRY, RELOAD, READY = b"d", b"h", b"r", b"+"

#: seconds that cancelled requests get to take back what they had done
UNDO_SECONDS = 30.0

START_FAILED = 1

Build = Callable[[Config], Awaitable["Application"]]
#: Returns what of the configuration of now can follow on the given one while the service runs, and a sentence for
#: everything else that has changed.
ReadConfig = Callable[[Config], tuple[Config, tuple[str, ...]]]


class Application(Protocol):
    """What a worker runs: an ASGI application that opens its things in ``start`` and closes them in ``stop``."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def start(self) -> None:
        """Open database and stores. Whatever is raised ends the worker."""

    async def stop(self) -> None:
        """Close them. No request runs any more."""

    def reload(self, config: Config) -> None:
        """Go on with ``config``, which has been checked and differs in nothing that needs a restart."""


@dataclass
class Job:
    """What a worker is born with."""

    config: Config
    reload_config: ReadConfig
    build: Build
    listener: socket.socket
    #: to the supervisor
    channel: socket.socket


def work(job: Job) -> int:
    """Be a worker; return the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to every process: the supervisor decides
    # Before there are threads: they, and what they start, would keep the signals blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # The loop is not closed: that would wait for calls that hang, and the process ends with us.
    return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run(job))


async def run(job: Job) -> int:
    try:
        app = await job.build(job.config)
        await app.start()
    except (FerrotypeError, OSError) as error:
        log.error("the service cannot start: %s", error)
        return START_FAILED
    except Exception:
        log.exception("the service cannot start")
        return START_FAILED
    server = http_server(app, job.config.server)
    await server.startup(sockets=[job.listener])
    ticking = asyncio.create_task(server.main_loop())  # keeps the Date header right
    keep_memory()
    sys.setswitchinterval(0.001)  # The loop waits so long at most for a thread that computes.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # A page of a thousand images is not garbage a dozen times over.
    stopping, hurrying, changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    swapping = asyncio.create_task(swap(job, app, changed))

    def obey() -> None:
        try:
            orders = job.channel.recv(64)
        except ConnectionResetError:  # the other way in which the end of a supervisor shows
            orders = b""
        if not orders or DRAIN in orders:
            stopping.set()
        if not orders:
            loop.remove_reader(job.channel)
            log.error("the supervisor is gone, so worker %s ends", os.getpid())
        if HURRY in orders:
            stopping.set()
            hurrying.set()
        if RELOAD in orders:
            changed.set()

    loop = asyncio.get_running_loop()
    job.channel.setblocking(False)
    job.channel.send(READY)
    loop.add_reader(job.channel, obey)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    log.info("worker %s is ready", os.getpid())

    await stopping.wait()
    job.listener.close()
    swapping.cancel()
    await drain(server, job.config.server.graceful_timeout, hurrying)
    await app.stop()
    server.should_exit = True
    await ticking
    return 0


def http_server(app: Application, options: Server) -> uvicorn.Server:
    """Return a server that waits for ``startup``; its limits are the protocol's."""
    config = uvicorn.Config(
        cast(Any, app),
        http=protocol_class(Limits()),
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


async def swap(job: Job, app: Application, changed: asyncio.Event) -> None:
    """Go on with the configuration of now whenever it has changed. It is read in a thread: requests do not wait."""
    while True:
        await changed.wait()
        changed.clear()
        try:
            # What has to wait for a restart is said by the supervisor, once.
            config, _ = await asyncio.to_thread(job.reload_config, job.config)
            app.reload(config)
        except Exception:
            log.exception("worker %s goes on with the configuration it has", os.getpid())
        else:
            job.config = config


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
