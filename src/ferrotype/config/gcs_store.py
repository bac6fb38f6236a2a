"""A store of type ``gcs``: objects in one bucket of Google Cloud Storage (RUL-88)."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferrotype.config import extras
from ferrotype.config.options import STORE, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class GcsStore:
    """Where the bucket is, and how to get access to it."""

    bucket: str = ""
    #: the key of a service account, JSON; None: the default credentials of the machine
    credentials_file: Path | None = None
    #: what the name of every object begins with
    prefix: str = ""

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"gs://{self.bucket}/{self.prefix}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-60: no secrets)."""
        return {"bucket": self.bucket, "prefix": self.prefix}


def _option(name: str, text: str, to: str) -> Option:
    return Option(STORE, f"gcs_store_{name}", TEXT, None, text, dest=f"stores.entries.options.{to}")


_BUCKET = _option("bucket", "bucket that holds the objects", "bucket")
_CREDENTIALS = _option("credentials_file", "JSON file with the key of a service account; unset: the default"
                       " credentials of the machine", "credentials_file")  # fmt: skip
_PREFIX = _option("prefix", "what the names of all objects begin with, as in `images/`", "prefix")
OPTIONS = (_BUCKET, _CREDENTIALS, _PREFIX)


def read(values: Values, sections: Sequence[str]) -> GcsStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""

    def get(option: Option) -> Any:
        return values.of_store(sections, option)[1]

    extras.require(values, sections[0], "gcs")
    bucket, prefix, name = get(_BUCKET) or "", get(_PREFIX) or "", get(_CREDENTIALS)
    if not re.fullmatch(r"[a-z0-9._-]{3,222}", bucket):
        values.problem(sections[0], _BUCKET.name, "must be set to the bucket of the store")
    if not re.fullmatch(r"([A-Za-z0-9_-][A-Za-z0-9._-]*/?)*", prefix) or len(prefix) > 500:
        values.problem(
            sections[0], _PREFIX.name, "must be letters, digits, dots, dashes, underscores and single slashes"
        )
    if name and not os.path.isfile(name):  # noqa: PTH113  Path.is_file raises for a name that is too long.
        values.problem(sections[0], _CREDENTIALS.name, "must name a file that exists")
    return GcsStore(bucket, Path(name).absolute() if name else None, prefix)
