"""Where the log goes, and in what form: a line for each message, and never an error for whoever wrote it."""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ferrotype.config.logs import Logging
from ferrotype.model.errors import FerrotypeError

#: Longest text of a log line.
_LONGEST = 8192


class LogUnusable(FerrotypeError):
    """The log file cannot be written."""


def start(config: Logging) -> None:
    """Begin to log as configured; raise LogUnusable where that cannot be done."""
    try:
        handler = LogFile(config.file) if config.file else logging.StreamHandler()
    except OSError as error:
        raise _unusable(config.file, error) from error
    handler.setFormatter(OneLine("%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=config.level, handlers=[handler])
    # What no line of the log shows need not be found out for each: where the call stands, the thread, the task.
    logging._srcfile = None  # documented in Python's logging HOWTO
    logging.logThreads = logging.logMultiprocessing = False
    # While the database is away it logs a traceback again and again; whoever needs the database says so in a line.
    logging.getLogger("asyncpg.pool").addFilter(lambda record: not record.exc_info)


def follow(config: Logging) -> None:
    """Go on as another configuration says that differs only in what may change meanwhile."""
    logging.getLogger().setLevel(config.level)


def check(config: Logging) -> None:
    """Raise LogUnusable where ``start`` would, and create nothing."""
    if config.file is None:
        return
    folder = config.file.parent
    try:
        if config.file.exists():
            os.close(os.open(config.file, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
            return
        folder.stat()
        if not folder.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unusable(config.file, error) from error


def _unusable(file: Path | None, error: OSError) -> LogUnusable:
    text = f"The log file {file} cannot be written: {error.strerror}."
    return LogUnusable(f"{text} Create its directory, or correct log_file, log_dir or the permissions.")


class LogFile(logging.Handler):
    """Lines in a file, which is made anew when somebody has moved it away.

    While the file cannot be written its lines go to standard error, the first of them with the reason before it;
    every line tries the file again.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._failed = False
        self._fd: int | None = None
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, wherever that can be done."""
        try:
            line = self.format(record)
        except Exception:  # A message that does not fit its arguments: logging says so and goes on.
            self.handleError(record)
            return
        try:
            self._write(line)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                text = "log file cannot be written; using standard error until it can: file=%s: %s"
                reason = error.strerror or error
                said = logging.LogRecord("ferrotype.logs", logging.ERROR, "", 0, text, (self._path, reason), None)
                _to_standard_error(self.format(said))
            _to_standard_error(line)

    def close(self) -> None:
        """Let go of the file."""
        self._let_go()
        super().close()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _write(self, line: str) -> None:
        if self._fd is not None and self._was_moved(self._fd):
            self._let_go()
        if self._fd is None:
            self._open()
        rest = f"{line}\n".encode(errors="backslashreplace")
        while self._fd is not None and rest:
            rest = rest[os.write(self._fd, rest) :]

    def _was_moved(self, fd: int) -> bool:
        try:
            there = self._path.stat()
        except OSError:  # Opening it says what is wrong.
            return True
        ours = os.fstat(fd)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _to_standard_error(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # Nobody is left who could be told.
        return


class OneLine(logging.Formatter):
    """Keeps a message on its line whatever callers put into it, and a traceback's lines apart from messages."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _printable(record.message[:_LONGEST])
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {_printable(line)}" for line in super().formatException(ei).splitlines())


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
