"""A store of type ``http``: files on other servers, which users register by their URLs. It is read-only."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import types

from ferrotype.config.options import BOOL, STORE, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class HttpStore:
    """How files are read from other servers."""

    #: trusted instead of the certificates of the machine
    ca_file: Path | None = None
    #: accept any certificate
    insecure: bool = False
    #: (scheme of the URL, host and port of its proxy)
    proxies: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return "other servers (read-only)"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What ``/v2/info/stores/detail`` shows: nothing (DISC-86)."""
        return {}


_CA_FILE = Option(
    STORE, "https_ca_certificates_file", TEXT, None,
    "certificates of authorities to trust for URLs of an http store, instead of the machine's",
    dest="stores.entries.options.ca_file",
)  # fmt: skip
_INSECURE = Option(
    STORE, "https_insecure", BOOL, HttpStore.insecure,
    "an http store accepts any certificate; without effect where `https_ca_certificates_file` is set",
    dest="stores.entries.options.insecure",
)  # fmt: skip
_PROXIES = Option(
    STORE, "http_proxy_information", types.Dict(types.String(), bounds=False), {},
    "proxies of an http store as `scheme:host:port`, such as `https:proxy.example.org:3128`",
    dest="stores.entries.options.proxies",
)  # fmt: skip
OPTIONS = (_CA_FILE, _INSECURE, _PROXIES)


def read(values: Values, sections: Sequence[str]) -> HttpStore:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""

    def get(option: Option) -> Any:
        return values.of_store(sections, option)[1]

    ca_file = _ca_file(values, *values.of_store(sections, _CA_FILE))
    insecure = get(_INSECURE) and ca_file is None
    if insecure:
        values.warn(f"[{sections[0]}] https_insecure: the certificates of servers are not verified.")
    return HttpStore(ca_file, insecure, _proxies(values, *values.of_store(sections, _PROXIES)))


def _ca_file(values: Values, section: str, text: str | None) -> Path | None:
    if not text:
        return None
    import ssl  # few configurations name such a file

    path = Path(text).absolute()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        values.problem(section, _CA_FILE.name, "holds no certificate in PEM format; name a file with some")
    except OSError as error:
        values.problem(section, _CA_FILE.name, f"cannot be read: {error.strerror}; name a file with certificates")
    return path


def _proxies(values: Values, section: str, proxies: dict[str, str]) -> tuple[tuple[str, str], ...]:
    found = []
    for scheme, text in proxies.items():
        proxy = text.strip().removeprefix("http://").removesuffix("/")
        if scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?", proxy, re.ASCII):
            problem = "must be scheme:host:port, the scheme http or https, without user and password"
            values.problem(section, _PROXIES.name, problem, show=False)
        else:
            found.append((scheme, proxy if ":" in proxy else f"{proxy}:80"))
    return tuple(found)
