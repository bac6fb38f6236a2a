"""Logging setup: one line per message; a failing log file never breaks the caller."""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ferrotype.config.logs import Logging
from ferrotype.model.errors import FerrotypeError

#: Most characters of a log message; the rest is cut off.
_MAX_LENGTH = 8192


class LogUnusable(FerrotypeError):
    """The log file cannot be written."""


def start(config: Logging) -> None:
    """Start logging as configured. Raises LogUnusable if the log file cannot be opened."""
    try:
        handler = LogFile(config.file) if config.file else logging.StreamHandler()
    except OSError as error:
        raise _unusable(config.file, error) from error
    handler.setFormatter(OneLine("%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=config.level, handlers=[handler])
    # Do not look up caller, thread and process for each record: no log line shows them.
    logging._srcfile = None  # documented in Python's logging HOWTO
    logging.logThreads = logging.logMultiprocessing = False
    # During an outage of the database asyncpg logs a traceback per attempt; the failed request is logged anyway.
    logging.getLogger("asyncpg.pool").addFilter(lambda record: not record.exc_info)


def apply(config: Logging) -> None:
    """Apply the reloadable options: the log level."""
    logging.getLogger().setLevel(config.level)


def check(config: Logging) -> None:
    """Raise LogUnusable if ``start`` would. Creates nothing."""
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
    """A log file that is reopened when it was moved or deleted (log rotation).

    While it cannot be written, lines go to standard error, preceded once by the reason. Every line retries the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._failed = False
        self._fd: int | None = None
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the file, or to standard error if that fails."""
        try:
            line = self.format(record)
        except Exception:  # The message does not match its arguments: logging reports that.
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
                record = logging.LogRecord("ferrotype.logs", logging.ERROR, "", 0, text, (self._path, reason), None)
                _to_standard_error(self.format(record))
            _to_standard_error(line)

    def close(self) -> None:
        """Close the file."""
        self._close_file()
        super().close()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _write(self, line: str) -> None:
        if self._fd is not None and self._was_moved(self._fd):
            self._close_file()
        if self._fd is None:
            self._open()
        rest = f"{line}\n".encode(errors="backslashreplace")
        while self._fd is not None and rest:
            rest = rest[os.write(self._fd, rest) :]

    def _was_moved(self, fd: int) -> bool:
        try:
            current = self._path.stat()
        except OSError:  # Opening it reports the reason.
            return True
        opened = os.fstat(fd)
        return (current.st_dev, current.st_ino) != (opened.st_dev, opened.st_ino)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _to_standard_error(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # There is no other place to log to.
        return


class OneLine(logging.Formatter):
    """Escapes control characters, so that a message is one line (log injection), and indents tracebacks."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = _printable(record.message[:_MAX_LENGTH])
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {_printable(line)}" for line in super().formatException(ei).splitlines())


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
