"""Each option changes the field of ``Config`` that it declares, and each field is read by the product."""

import ast
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import pytest
from configurations import BASES, MANDATORY, store_type
from oslo_config import types as oslo_types

from ferrotype.config import Config
from ferrotype.config.options import STORE, Option
from ferrotype.config.read import examine
from ferrotype.config.stores import TYPES
from ferrotype.config.table import TABLE

PRODUCT = Path(sys.modules["ferrotype"].__path__[0])
LOCAL = (
    "[DEFAULT]\nproperty_protection_file = p\n[database]\nconnection = sqlite:////srv/t.sqlite\n"
    "[backend_defaults]\nweight = 1\n"
)
#: Values that are not the default, where any text or number will not do.
VALUES = {
    "bind_host": "::1", "auth_strategy": "http_basic", "flavor": "keystone", "connection": "sqlite:////srv/other",
    "hashing_algorithm": "sha256", "endpoint_interface": "internal", "user_storage_quota": "6GB",
    "filesystem_store_file_perm": "640", "enabled_backends": "a:file", "default_backend": "b",
    "connection_parameters": "sslmode=require", "property_protection_rule_format": "policies", "enabled": "false",
    "trusted_proxies": "10.1.0.0/24", "swift_store_multiple_containers_seed": "8",
    "swift_store_endpoint_type": "internalURL", "vmware_datastores": "dc:other", "cinder_catalog_info": "v:n:i",
    "allowed_networks": "[10.1.0.0/24]", "http_proxy_information": "http:proxy:1",
    "allowed_schemes": "[https]", "disallowed_schemes": "[http]", "allowed_hosts": "[a.example]",
    "disallowed_hosts": "[b.example]", "allowed_ports": "[1]", "disallowed_ports": "[2]",
    "s3_store_bucket_url_format": "virtual", "verify_downloads": "always",
    "s3_store_cacert": str(Path(botocore.__file__).with_name("cacert.pem")),
    "s3_store_request_checksum_calculation": "when_supported", "azure_store_key": "b3RoZXI=",
    "gcs_store_credentials_file": __file__, "azure_store_endpoint": "http://h",
}  # fmt: skip
#: Options that have an effect only together.
PARTNERS = {
    "s3_store_enable_data_integrity_protection": "s3_store_request_checksum_calculation = when_supported\n",
    "s3_store_request_checksum_calculation": "s3_store_enable_data_integrity_protection = true\n",
}


def changed_value(option: Option) -> str:
    if option.name in VALUES:
        return VALUES[option.name]
    if isinstance(option.type, oslo_types.Boolean):
        return str(not option.default)
    return "77" if isinstance(option.type, oslo_types.Number) else "other"


def at(config: Config, place: str) -> Any:
    """Return the value in a field, such as ``server.bind_port``; of the stores, the first one's."""
    found: Any = config
    for name in place.split("."):
        found = getattr(found[0] if isinstance(found, tuple) else found, name)
    return found


@pytest.mark.parametrize("option", [o for o in TABLE.options if o.dest], ids=lambda option: option.title)
def test_an_option_changes_the_field_that_it_declares(tmp_path: Path, option: Option) -> None:
    record, _, _ = option.dest.partition(".")
    single = option.name in ("enabled_backends", "default_store", "use_keystone_limits")
    base = LOCAL + ("" if single else BASES.get(record, "")).replace("a:file", f"a:{store_type(option)}")
    base += f"[backend_defaults]\n{MANDATORY.get(store_type(option), '')}{PARTNERS.get(option.name, '')}"
    section = "a" if option.section == STORE else option.section
    before, after = tmp_path / "before.conf", tmp_path / "after.conf"
    before.write_text(base)
    after.write_text(f"{base}[{section}]\n{option.name} = {changed_value(option)}\n")
    old, new = (examine([path], [], {}).config for path in (before, after))
    assert at(new, option.dest) != at(old, option.dest)


def test_options_of_one_field_are_all_reloadable_or_none() -> None:
    reloadable = {(option.dest, option.reloadable) for option in TABLE.options if option.dest}
    assert len(reloadable) == len({dest for dest, _ in reloadable})


def records(record: type) -> Iterator[type]:
    """Yield the dataclass and those that its fields may hold."""
    yield record
    for hint in typing.get_type_hints(record).values():
        for part in parts_of(hint):
            if is_dataclass(part):
                yield from records(part)


def parts_of(hint: Any) -> Iterator[Any]:
    yield hint
    if isinstance(hint, types.UnionType) or typing.get_args(hint):
        for part in typing.get_args(hint):
            yield from parts_of(part)


@cache
def attributes_read() -> frozenset[str]:
    """Return the attributes that modules outside ``config`` read, where the module has to do with configuration."""
    found: set[str] = set()
    for path in PRODUCT.rglob("*.py"):
        if path.relative_to(PRODUCT).parts[0] in ("config", "testing"):
            continue
        tree = ast.parse(path.read_text())
        names = {
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        }
        imports = any(
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ferrotype.config")
            for node in ast.walk(tree)
        )
        if imports or "config" in names:
            found |= names
    return frozenset(found)


@cache
def attributes_shown() -> frozenset[str]:
    """Return the fields that the records of stores show to operators."""
    return frozenset(
        node.attr
        for path in (PRODUCT / "config").glob("*_store.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and function.name == "properties"
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
    )


def test_every_field_of_the_configuration_is_read() -> None:
    of_stores = [typing.get_type_hints(type_.read)["return"] for type_ in TYPES.values()]
    every = [each for record in (Config, *of_stores) for each in records(record)]
    places = {(record.__name__, field.name) for record in every for field in fields(record)}
    assert len(places) > 80
    read = attributes_read() | attributes_shown()
    assert sorted(f"{record}.{name}" for record, name in places if name not in read) == []
