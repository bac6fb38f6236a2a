"""One worker: a process with one event loop, one application and one HTTP server.

It starts its application, reports on the channel to its supervisor that it is ready, and then follows the commands
that come back.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import uvloop

from ferrotype.config import Config
from ferrotype.model.errors import FerrotypeError
from ferrotype.server.admission import raise_descriptor_limit
from ferrotype.server.connection import HTTPServer
from ferrotype.server.limits import limits_for
from ferrotype.server.malloc import keep_memory

log = logging.getLogger("ferrotype.server")

#: signals that a process of the service handles
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}

#: commands of the supervisor, and the answer of a worker that has started
DRAIN, CANCEL, RELOAD, READY = b"d", b"h", b"r", b"+"

#: seconds that cancelled requests get for their rollback
ROLLBACK_SECONDS = 30.0
#: seconds between two looks at what is still open while the worker drains
DRAIN_INTERVAL = 0.05

START_FAILED = 1

Build = Callable[[Config], Awaitable["Application"]]
#: Returns the running configuration with every change that can be applied without a restart, and a sentence for each
#: change that cannot.
ReadConfig = Callable[[Config], tuple[Config, tuple[str, ...]]]


class Application(Protocol):
    """What a worker runs: an ASGI application with a start and a stop of its own."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def start(self) -> None:
        """Open database and stores. An exception ends the worker."""

    async def stop(self) -> None:
        """Close them. No request runs any more."""

    def reload(self, config: Config) -> None:
        """Apply ``config``, which is valid and differs in nothing that needs a restart."""


@dataclass
class WorkerContext:
    """What a worker gets from its supervisor."""

    config: Config
    reload_config: ReadConfig
    build: Build
    listener: socket.socket
    #: to the supervisor
    channel: socket.socket


class Commands:
    """What the supervisor has asked for so far."""

    def __init__(self) -> None:
        self.drain, self.cancel, self.reload = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def listen(self, channel: socket.socket) -> None:
        """Follow the commands on the channel, SIGTERM, and the end of the supervisor."""
        loop = asyncio.get_running_loop()
        channel.setblocking(False)
        loop.add_reader(channel, self._on_command, channel)
        loop.add_signal_handler(signal.SIGTERM, self.drain.set)

    def _on_command(self, channel: socket.socket) -> None:
        try:
            commands = channel.recv(64)
        except ConnectionResetError:  # The supervisor died with unread data in its socket.
            commands = b""
        if not commands:
            asyncio.get_running_loop().remove_reader(channel)
            log.error("the supervisor is gone; stopping worker %s", os.getpid())
        if not commands or DRAIN in commands:
            self.drain.set()
        if CANCEL in commands:
            self.drain.set()
            self.cancel.set()
        if RELOAD in commands:
            self.reload.set()


def run_worker(context: WorkerContext) -> int:
    """Run a worker in this process; return the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # A terminal sends them to every process; only the supervisor acts.
    # Before threads and child processes exist: they inherit the mask.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # The loop is not closed: that would wait for blocked threads. The process ends anyway.
    return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve_until_drained(context))


async def serve_until_drained(context: WorkerContext) -> int:
    """Start the application, serve until commanded to drain, stop it; return the exit code."""
    app = await start_application(context)
    if app is None:
        return START_FAILED
    options = context.config.server
    limits = limits_for(raise_descriptor_limit(), options.keep_alive)
    server = HTTPServer(app, limits, options.trusted_proxies)
    loop = asyncio.get_running_loop()
    accepting = await loop.create_server(server.connection, sock=context.listener, backlog=options.backlog)
    tune_process()
    commands = Commands()
    reloading = asyncio.create_task(reload_on_signal(context, app, commands.reload))
    commands.listen(context.channel)
    context.channel.send(READY)
    log.info("worker %s is ready: connections=%d transfers=%d", os.getpid(), limits.connections, limits.transfers)

    await commands.drain.wait()
    context.listener.close()
    accepting.close()
    reloading.cancel()
    await drain(server, options.graceful_timeout, commands.cancel)
    await app.stop()
    return 0


async def start_application(context: WorkerContext) -> Application | None:
    """Return the application, started; None when that failed, after logging why."""
    try:
        app = await context.build(context.config)
        await app.start()
    except (FerrotypeError, OSError) as error:
        log.error("the service cannot start: %s", error)
    except Exception:
        log.exception("the service cannot start")
    else:
        return app
    return None


def tune_process() -> None:
    """Adjust allocator, thread switching and garbage collection to a process that serves."""
    keep_memory()
    sys.setswitchinterval(0.001)  # The longest that the event loop waits for a computing thread to yield the GIL.
    gc.collect()
    gc.freeze()
    # A page of a thousand images allocates enough to start a dozen collections at the default threshold of 700.
    gc.set_threshold(10_000, 10, 10)


async def reload_on_signal(context: WorkerContext, app: Application, changed: asyncio.Event) -> None:
    """Reload the configuration whenever ``changed`` is set. It is read in a thread, so that requests do not wait."""
    while True:
        await changed.wait()
        changed.clear()
        try:
            # The supervisor logs what needs a restart, once for all workers.
            config, _ = await asyncio.to_thread(context.reload_config, context.config)
            app.reload(config)
        except Exception:
            log.exception("configuration not reloaded: worker=%s", os.getpid())
        else:
            context.config = config


async def drain(server: HTTPServer, grace: float, cancel: asyncio.Event) -> None:
    """Let running requests finish for ``grace`` seconds, then cancel them and wait for their rollback."""
    deadline = time.monotonic() + grace
    while server.connections or server.tasks:
        for connection in list(server.connections):
            connection.shutdown()  # Repeated for connections that were accepted at the last moment.
        if cancel.is_set() or time.monotonic() >= deadline:
            break
        await asyncio.sleep(DRAIN_INTERVAL)
    if running := set(server.tasks):
        log.warning("cancelling running requests: count=%d", len(running))
        for task in running:
            task.cancel()
        if pending := (await asyncio.wait(running, timeout=ROLLBACK_SECONDS))[1]:
            log.error("rollback not finished in time: requests=%d; background cleanup will do it", len(pending))
    for _ in range(10):
        if server.connections:
            await asyncio.sleep(DRAIN_INTERVAL)  # The last responses are being sent.
    for connection in list(server.connections):
        connection.abort("the worker stops", logging.DEBUG)
