"""What the inspector that Nova, Cinder and Glance share says of the same bytes."""

import io
import logging
from typing import Any

from oslo_utils.imageutils import format_inspector

# It repeats the lines it does not like, however long they are.
logging.getLogger(format_inspector.__name__).setLevel(logging.CRITICAL)


def reference(data: bytes) -> list[Any] | None:
    """Return its inspectors that match; None when it breaks down.

    It is fed as Glance does it, because its answers depend on that: it finds
    the size of a VHDX only in a later chunk than the table of sizes.
    """
    wrapper = format_inspector.InspectWrapper(io.BytesIO(data))
    while wrapper.read(64 * 1024):
        pass
    wrapper.close()
    try:
        found = wrapper.formats
    except AttributeError:  # a text that is ASCII at first only
        return None
    assert found is not None
    if {str(inspector) for inspector in found} == {"iso", "gpt"}:
        return [inspector for inspector in found if str(inspector) == "iso"]
    return found


def names(found: list[Any]) -> set[str]:
    """Return the names of the formats."""
    return {str(inspector) for inspector in found}


def unsafe(found: list[Any]) -> set[str]:
    """Return the names of the formats that do not pass their checks."""
    bad = set()
    for inspector in found:
        try:
            inspector.safety_check()
        except (format_inspector.ImageFormatError, format_inspector.SafetyCheckFailed):
            bad.add(str(inspector))
    return bad
