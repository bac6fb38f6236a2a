"""Options of logging: destination and level."""

from dataclasses import dataclass
from pathlib import Path

from ferrotype.config.options import BOOL, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Logging:
    """``level`` is a level of the logging module; without a ``file`` the log goes to standard error."""

    level: str = "INFO"
    file: Path | None = None


OPTIONS = (
    Option("DEFAULT", "debug", BOOL, False, "log at level DEBUG instead of INFO", dest="logging.level",
           reloadable=True),
    Option("DEFAULT", "log_file", TEXT, None, "log file", dest="logging.file",
           deprecated_names=(("DEFAULT", "logfile"),), sample_default="unset: standard error"),
    Option("DEFAULT", "log_dir", TEXT, None, "directory of `log_file`", dest="logging.file",
           deprecated_names=(("DEFAULT", "logdir"),)),
)  # fmt: skip


def read(values: Values) -> Logging:
    """Return where the log goes. In ``log_dir`` its name is ferrotype.log unless ``log_file`` names it."""
    file, directory = values.get("DEFAULT", "log_file"), values.get("DEFAULT", "log_dir")
    path = Path(directory or "", file or "ferrotype.log").absolute() if file or directory else None
    return Logging(level="DEBUG" if values.get("DEFAULT", "debug") else "INFO", file=path)
