"""Query parameters of a list -> ImageQuery."""

import re
from collections.abc import Mapping
from typing import cast

from ferrotype.config.api import Api
from ferrotype.model import times
from ferrotype.model.errors import Invalid
from ferrotype.model.image import VISIBILITIES
from ferrotype.model.member import STATUSES
from ferrotype.model.query import SORT_KEYS, Filter, FilterOp, ImageQuery, MemberStatusFilter

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_BIGINT = 2**63 - 1
#: Most filters of one list; more would cost the database seconds.
MAX_FILTERS = 50

#: Parameters that may be repeated; of all others the last one counts.
_REPEATED = ("tag", "sort_key", "sort_dir", "sort")
#: Parameters that are not filters on attributes or properties.
_OTHER = {"limit", "marker", "visibility", "member_status", "os_hidden", "deleted", "changes-since", *_REPEATED}
_WITH_LISTS = ("name", "id", "status", "disk_format", "container_format")
_TIMES = ("created_at", "updated_at")
_NUMBERS = ("size", "min_disk", "min_ram", "virtual_size")
_RANGES: Mapping[str, tuple[str, FilterOp]] = {
    **{f"{name}_min": (name, "min") for name in _NUMBERS},
    **{f"{name}_max": (name, "max") for name in _NUMBERS},
}
_STRINGS = ("checksum", "os_hash_algo", "os_hash_value", "owner")
#: Matches nothing: no image has an empty id.
_NO_MATCH = Filter("id", "eq", "")


def image_query(pairs: list[tuple[str, str]], api: Api) -> ImageQuery:
    """Return the query of a list; raise Invalid, naming the parameter and its allowed values."""
    for key, value in pairs:
        if "\0" in key or "\0" in value:
            raise Invalid(f"'{key[:64]}' must not contain the character NUL.")
    last = dict(pairs)
    if last.get("changes-since"):
        raise Invalid("'changes-since' is not supported by this API.")
    visibility = last.get("visibility")
    if visibility is not None and visibility not in (*VISIBILITIES, "all"):
        raise Invalid(f"'visibility' must be one of {', '.join(VISIBILITIES)}, all.")
    member_status = last.get("member_status", "accepted")
    if member_status not in (*STATUSES, "all"):
        raise Invalid(f"'member_status' must be one of {', '.join(STATUSES)}, all.")
    filters = [Filter("tag", "tag", value.strip()) for key, value in pairs if key == "tag"]
    filters += [_filter(key, value) for key, value in last.items() if key not in _OTHER]
    if len(filters) > MAX_FILTERS:
        raise Invalid(f"A list may have at most {MAX_FILTERS} filters; this one has {len(filters)}.")
    return ImageQuery(
        filters=tuple(filters),
        sort=_sort(pairs),
        limit=_limit(last, api),
        marker=last.get("marker"),
        visibility=visibility,
        member_status=cast(MemberStatusFilter, member_status),
        hidden=_boolean("os_hidden", last.get("os_hidden", "false")),
    )


def _limit(last: Mapping[str, str], api: Api) -> int:
    if "limit" not in last:
        return min(api.limit_default, api.limit_max)
    limit = _integer("limit", last["limit"])
    if limit < 0:
        raise Invalid("'limit' must not be negative.")
    return min(limit, api.limit_max)


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or len(text) > 40:
        raise Invalid(f"'{name}' must be an integer; got '{text[:32]}'.")
    return max(-_BIGINT, min(_BIGINT, int(text)))


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise Invalid(f"'{name}' must be true or false.")
    return text.lower() == "true"


def _filter(key: str, value: str) -> Filter:
    if key in _WITH_LISTS:
        return _with_list(key, value)
    if key in _TIMES:
        return _time(key, value)
    if key in _RANGES:
        name, end = _RANGES[key]
        return Filter(name, end, _integer(key, value))
    if key in _NUMBERS:
        return Filter(key, "eq", _integer(key, value)) if _INTEGER.fullmatch(value) else _NO_MATCH
    if key == "protected":
        return Filter(key, "eq", _boolean(key, value))
    if key in _STRINGS:
        return Filter(key, "eq", value)
    return Filter(key, "property", value)


def _with_list(key: str, value: str) -> Filter:
    """Return the filter; before a colon only an operator is one, so ``ubuntu:22.04`` is a name (RUL-73)."""
    if value.startswith("in:"):
        return Filter(key, "in", _list(key, value.removeprefix("in:")))
    return Filter(key, "eq", value.removeprefix("eq:"))


def _list(key: str, text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list; items may be quoted, with quotes inside escaped (IMG-LIST-31)."""
    items: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == '"':
            item, position = _quoted(key, text, position + 1)
            if position < len(text) and text[position] != ",":
                raise Invalid(f"In the list of '{key}' a closing quote must be followed by a comma.")
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            item = text[position:end]
            if '"' in item.replace('\\"', ""):
                raise Invalid(f"In the list of '{key}' a quote must begin an item.")
            item, position = item.replace('\\"', '"'), end
        items.append(item)
        position += 1
    return tuple(items)


def _quoted(key: str, text: str, start: int) -> tuple[str, int]:
    """Return a quoted item, unescaped, and the position after its closing quote."""
    item = []
    position = start
    while position < len(text):
        if text.startswith('\\"', position):
            item.append('"')
            position += 2
        elif text[position] == '"':
            return "".join(item), position + 1
        else:
            item.append(text[position])
            position += 1
    raise Invalid(f"In the list of '{key}' a quote is not closed.")


_TIME_OPERATOR = re.compile(r"(eq|neq|gt|gte|lt|lte):(.*)", re.DOTALL)


def _time(key: str, value: str) -> Filter:
    """Return a filter that compares in whole seconds, the precision of the API (IMG-LIST-33)."""
    match = _TIME_OPERATOR.fullmatch(value)
    operator, text = match.groups() if match else ("eq", value)
    begin = times.parse(text, key)
    end = begin + times.SECOND
    match operator:
        case "eq":
            return Filter(key, "between", (begin, end))
        case "neq":
            return Filter(key, "not_between", (begin, end))
        case "gt":
            return Filter(key, "from", end)
        case "gte":
            return Filter(key, "from", begin)
        case "lt":
            return Filter(key, "before", begin)
        case _:
            return Filter(key, "before", end)


def _sort(pairs: list[tuple[str, str]]) -> tuple[tuple[str, bool], ...]:
    """Return (key, descending) pairs, completed with created_at and id so that the order is total (IMG-LIST-24)."""
    new = [value for key, value in pairs if key == "sort"]
    keys = [value.strip() for key, value in pairs if key == "sort_key"]
    directions = [value.strip() for key, value in pairs if key == "sort_dir"]
    if new:
        if keys or directions:
            raise Invalid("'sort' cannot be combined with 'sort_key' and 'sort_dir'.")
        if len(new) > 1:
            raise Invalid("'sort' must be given once, with keys separated by commas.")
        keys, directions = _sort_list(new[0])
    if len(directions) > 1 and len(directions) != len(keys):
        raise Invalid("'sort_dir' must be given once, or once for each 'sort_key'.")
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid(f"The sort direction must be asc or desc; got '{direction[:32]}'.")
    for key in keys:
        if key not in SORT_KEYS:
            raise Invalid(f"The sort key must be one of {', '.join(SORT_KEYS)}; got '{key[:32]}'.")
    default = directions[0] if len(directions) == 1 else "desc"
    keys = keys or ["created_at"]
    each = directions if len(directions) == len(keys) else [default] * len(keys)
    order = dict(reversed(list(zip(keys, each, strict=True))))  # Of a repeated key the first one counts.
    total = {key: order[key] for key in dict.fromkeys(keys)} | {
        key: default for key in ("created_at", "id") if key not in order
    }
    return tuple((key, direction == "desc") for key, direction in total.items())


def _sort_list(text: str) -> tuple[list[str], list[str]]:
    keys, directions = [], []
    for part in text.split(","):
        key, _, direction = part.strip().partition(":")
        keys.append(key.strip())
        directions.append(direction.strip() or "desc")
    return keys, directions
