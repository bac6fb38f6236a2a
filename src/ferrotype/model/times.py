"""Times: stored as microseconds since 1970 UTC, formatted in whole seconds, parsed from ISO 8601."""

import re
import time
from datetime import UTC, datetime
from functools import lru_cache

from ferrotype.model.errors import Invalid

SECOND = 1_000_000

# The forms of ISO 8601 that clients use: year, month or day alone; T or spaces before the time; Z or an offset.
_ISO = re.compile(
    r"\s*(?P<year>\d{4})(?:-?(?P<month>\d\d)(?:-?(?P<day>\d\d)"
    r"(?:(?:T|\s+)(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,]\d+)?)?)?"
    r"\s*(?P<zone>Z|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?)?)?)?\s*",
    re.ASCII | re.IGNORECASE,
)


def isoformat(micros: int) -> str:
    """Return the time in the API's format: ``2026-11-24T09:35:01Z``."""
    day, second = divmod(micros // SECOND, 86400)
    return f"{_date(day)}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


@lru_cache(maxsize=4096)  # A page of 1,000 images has 2,000 times on few different days.
def _date(day: int) -> str:
    year, month, day_of_month = time.gmtime(day * 86400)[:3]
    return f"{year:04}-{month:02}-{day_of_month:02}"


def parse(text: str, field: str) -> int:
    """Return the time that ``text`` denotes, in microseconds cut to whole seconds; raise Invalid naming ``field``."""
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
        raise Invalid(f"'{field}' must be an existing time; got '{text[:64]}' ({error}).") from None
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    if zone not in "Zz":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * SECOND
