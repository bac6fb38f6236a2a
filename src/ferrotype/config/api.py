"""What the Image API shows, and what becomes of deleted images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import types

from ferrotype.config import schema
from ferrotype.config.options import BOOL, TEXT, Option, at_least, ignored_option
from ferrotype.config.schema import SHIPPED_SCHEMA
from ferrotype.config.values import Values

#: Digests that may become ``os_hash_algo``: of a fixed length and known to every client.
HASHES = (
    "md5", "sha1", "sha224", "sha256", "sha384", "sha512",
    "sha3_224", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s",
)  # fmt: skip


@dataclass(frozen=True)
class Api:
    """What the Image API shows, how it hashes new data, and how long it keeps deleted data."""

    #: images on a page
    limit_default: int = 25
    limit_max: int = 1000
    show_direct_url: bool = False
    show_locations: bool = False
    hashing_algorithm: str = "sha512"
    #: of which full downloads the digest is checked: streamed, always, never
    verify_downloads: str = "streamed"
    #: those that run
    import_methods: tuple[str, ...] = ()
    delayed_delete: bool = False
    #: seconds that delayed delete keeps the data of an image
    scrub_time: int = 0
    #: additional properties with a schema of their own: the deployment's schema-image.json, else Glance's
    schema_properties: Mapping[str, Any] = field(default_factory=lambda: SHIPPED_SCHEMA)
    schema_required: tuple[str, ...] = ()


OPTIONS = (
    Option("DEFAULT", "limit_param_default", at_least(1), Api.limit_default,
           "images on a page of a list without `limit`", dest="api.limit_default", reloadable=True),
    Option("DEFAULT", "api_limit_max", at_least(1), Api.limit_max, "maximum images on a page of a list",
           dest="api.limit_max", reloadable=True),
    Option("DEFAULT", "show_image_direct_url", BOOL, Api.show_direct_url, "images show `direct_url`",
           dest="api.show_direct_url", reloadable=True),
    Option("DEFAULT", "show_multiple_locations", BOOL, Api.show_locations,
           "images show `locations`, and users who may change an image may change them: unsafe",
           dest="api.show_locations", reloadable=True),
    Option("DEFAULT", "hashing_algorithm", types.String(choices=HASHES), Api.hashing_algorithm,
           "digest of new data: " + ", ".join(HASHES), dest="api.hashing_algorithm", reloadable=True),
    Option("DEFAULT", "verify_downloads", types.String(choices=("streamed", "always", "never")), Api.verify_downloads,
           "which full downloads are checked against the image's digest before their last bytes are sent: `streamed`"
           " (not those of local files, which the kernel sends), `always` (those too: they are read, at nine times"
           " the CPU), `never`", dest="api.verify_downloads", reloadable=True),
    Option("DEFAULT", "delayed_delete", BOOL, Api.delayed_delete,
           "keep the data of a deleted image for `scrub_time`; meanwhile it does not count towards quotas",
           dest="api.delayed_delete"),
    Option("DEFAULT", "scrub_time", types.Integer(min=0, max=10**10), Api.scrub_time,
           "seconds that the data of a deleted image is kept; any node deletes it within seconds after that",
           dest="api.scrub_time", reloadable=True),
    ignored_option("DEFAULT", "image_cache_dir", TEXT,
                   "this version has no image cache; the directory must still differ from those of the stores"),
)  # fmt: skip


def read(values: Values, directories: Sequence[Path]) -> Api:
    """Return what the API shows. schema-image.json is looked for in ``directories``, those of the configuration."""
    properties, required = schema.read(values, directories)
    return Api(**values.fields(OPTIONS, "api"), schema_properties=properties, schema_required=required)
