"""Times: kept as microseconds since 1970 UTC, shown in whole seconds, read in the spellings of ISO 8601."""

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

from ferrotype.model.errors import Invalid

SECOND = 1_000_000

# ISO 8601 as far as clients write it: year, month or day alone; T or blanks before the time; Z or an offset.
_ISO = re.compile(
    r"\s*(?P<year>\d{4})(?:-?(?P<month>\d\d)(?:-?(?P<day>\d\d)"
    r"(?:(?:T|\s+)(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?)?"
    r"\s*(?P<zone>Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?)?)?\s*",
    re.ASCII | re.IGNORECASE,
)


def shown(micros: int) -> str:
    """Return the time as the API shows it: ``2026-11-24T09:35:01Z``."""
    day, second = divmod(micros // SECOND, 86400)
    return f"{_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


@lru_cache(maxsize=4096)  # A page has two thousand times and few days.
def _date(day: int) -> str:
    year, month, day_of_month = time.gmtime(day * 86400)[:3]
    return f"{year:04}-{month:02}-{day_of_month:02}"


def read(text: str, field: str) -> int:
    """Return the whole second that ``text`` names, in microseconds; raise Invalid naming ``field``."""
    match = _ISO.fullmatch(text)
    if not match:
        raise Invalid(f"'{field}' must be an ISO 8601 time, such as 2026-11-24T09:35:01Z; got '{text[:64]}'.")
    parts = match.groupdict()
    zone = parts["zone"] or "Z"
    try:
        moment = datetime(
            int(parts["year"]),
            int(parts["month"] or 1),
            int(parts["day"] or 1),
            int(parts["hour"] or 0),
            int(parts["minute"] or 0),
            int(parts["second"] or 0),
            tzinfo=UTC,
        )
    except ValueError as error:
        raise Invalid(f"'{field}' names a time that does not exist: '{text[:64]}' ({error}).") from None
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if zone not in "Zz":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * SECOND
