"""Static limits on images and on what a project stores."""

import re
from dataclasses import dataclass

from oslo_config import types

from ferrotype.config.options import COUNT, TEXT, Option, at_least
from ferrotype.config.values import Values

_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_MAX_BYTES = 2**63


@dataclass(frozen=True)
class Limits:
    """Sizes are bytes. A negative count means no limit; a storage quota of 0 means none."""

    image_size_cap: int = 1 << 40
    user_storage_quota: int = 0
    image_property_quota: int = 128
    image_tag_quota: int = 128
    image_member_quota: int = 128
    image_location_quota: int = 10
    #: images of a project, where limits are not Keystone's; 0: no limit
    image_count_quota: int = 100_000


OPTIONS = (
    Option("DEFAULT", "image_size_cap", types.Integer(min=1, max=_MAX_BYTES), Limits.image_size_cap,
           "maximum size of an image in bytes", dest="limits.image_size_cap", reloadable=True),
    Option("DEFAULT", "user_storage_quota", TEXT, "0",
           "maximum size of all images of a project: a number and B, KB, MB, GB or TB (powers of 1024); 0: no quota",
           dest="limits.user_storage_quota", reloadable=True),
    Option("DEFAULT", "image_property_quota", COUNT, Limits.image_property_quota,
           "maximum properties per image; negative for no limit", dest="limits.image_property_quota",
           reloadable=True),
    Option("DEFAULT", "image_tag_quota", COUNT, Limits.image_tag_quota,
           "maximum tags per image; negative for no limit", dest="limits.image_tag_quota", reloadable=True),
    Option("DEFAULT", "image_member_quota", COUNT, Limits.image_member_quota,
           "maximum members per image; negative for no limit", dest="limits.image_member_quota", reloadable=True),
    Option("DEFAULT", "image_location_quota", COUNT, Limits.image_location_quota,
           "maximum locations per image when clients add some; negative for no limit",
           dest="limits.image_location_quota", reloadable=True),
    Option("DEFAULT", "image_count_quota", at_least(0), Limits.image_count_quota,
           "maximum images per project, roughly, without `use_keystone_limits`; 0 for no limit",
           dest="limits.image_count_quota", reloadable=True),
)  # fmt: skip


def read(values: Values) -> Limits:
    """Return the limits."""
    fields = values.fields(OPTIONS, "limits")
    found = re.fullmatch(r"([0-9]+)([KMGT]?B)?", fields["user_storage_quota"].strip())
    quota = int(found[1]) * _UNITS[found[2] or ""] if found else 0
    if not found:
        text = "must be a whole number and B, KB, MB, GB or TB without a space, as in 500GB"
        values.problem("DEFAULT", "user_storage_quota", text)
    elif quota >= _MAX_BYTES:
        values.problem("DEFAULT", "user_storage_quota", "is more than 8388607TB; use less, or 0 for no quota")
    cap = min(fields["image_size_cap"], _MAX_BYTES - 1)
    return Limits(**{**fields, "image_size_cap": cap, "user_storage_quota": quota})
