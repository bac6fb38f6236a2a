"""A store of type ``azure``: objects in one container of Azure Blob Storage (RUL-88)."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ferrotype.config import extras
from ferrotype.config.options import STORE, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class AzureStore:
    """Where the container is, and how to get access to it."""

    account: str = ""
    container: str = ""
    #: the key of the account; None: the environment, or the identity of the machine
    key: str | None = field(default=None, repr=False)
    #: the URL of the account at another server than Azure's; None: Azure's
    endpoint: str | None = None

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"azure://{self.account}/{self.container}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-60: no secrets)."""
        return {"account": self.account, "container": self.container}


def _option(name: str, text: str) -> Option:
    return Option(STORE, f"azure_store_{name}", TEXT, None, text, dest=f"stores.entries.options.{name}")


_ACCOUNT = _option("account", "storage account")
_CONTAINER = _option("container", "container that holds the objects")
_KEY = _option("key", "key of the account; unset: from the environment, or the identity of the machine")
_ENDPOINT = _option("endpoint", "URL of the account; unset: `https://ACCOUNT.blob.core.windows.net`")
OPTIONS = (_ACCOUNT, _CONTAINER, _KEY, _ENDPOINT)


def read(values: Values, sections: Sequence[str]) -> AzureStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""

    def get(option: Option) -> Any:
        return values.of_store(sections, option)[1]

    extras.require(values, sections[0], "azure")
    account, container, key, endpoint = get(_ACCOUNT) or "", get(_CONTAINER) or "", get(_KEY), get(_ENDPOINT)
    if not re.fullmatch(r"[a-z0-9]{3,24}", account):
        values.problem(
            sections[0], _ACCOUNT.name, "must be set to the storage account: 3 to 24 lower-case letters and digits"
        )
    if not re.fullmatch(r"[a-z0-9](-?[a-z0-9]){2,62}", container):
        values.problem(sections[0], _CONTAINER.name, "must be set to the container of the store")
    if key and not _is_base64(key):
        values.problem(sections[0], _KEY.name, "must be the key as the portal shows it, in base64")
    if endpoint and not re.fullmatch(r"https?://[\w.:\[\]-]+(/[\w.-]+)?/?", endpoint, re.ASCII):
        values.problem(sections[0], _ENDPOINT.name, "must be a URL without user information and query", show=False)
    return AzureStore(account, container, key or None, endpoint.rstrip("/") if endpoint else None)


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False
