"""Where Keystone has the limits of projects: ``[oslo_limit]``."""

from dataclasses import dataclass
from typing import Any

from oslo_config import types

from ferrotype.config.login import Login, login_options, read_login
from ferrotype.config.options import BOOL, MAX_SECONDS, NAMES, TEXT, Option, at_most
from ferrotype.config.values import Values

SECTION = "oslo_limit"
_INTERFACES = ["public", "publicURL", "internal", "internalURL", "admin", "adminURL"]


@dataclass(frozen=True)
class UnifiedLimits:
    """The endpoint whose limits apply: its ID, or what identifies it in the catalog."""

    login: Login
    endpoint_id: str | None = None
    service_type: str | None = None
    service_name: str | None = None
    region: str | None = None
    interface: str = "public"


OPTIONS = (
    Option("DEFAULT", "use_keystone_limits", BOOL, False,
           "use the limits of projects that are registered in Keystone instead of `user_storage_quota`",
           dest="unified_limits"),
    Option(SECTION, "endpoint_id", TEXT, None, "ID of the image service's endpoint in Keystone",
           dest="unified_limits.endpoint_id"),
    Option(SECTION, "endpoint_service_type", TEXT, None, "instead of the ID: type of the endpoint's service",
           dest="unified_limits.service_type"),
    Option(SECTION, "endpoint_service_name", TEXT, None, "instead of the ID: name of the endpoint's service",
           dest="unified_limits.service_name"),
    Option(SECTION, "endpoint_region_name", TEXT, None, "instead of the ID: region of the endpoint",
           dest="unified_limits.region"),
    Option(SECTION, "endpoint_interface", types.String(choices=_INTERFACES), UnifiedLimits.interface,
           "instead of the ID: interface of the endpoint", dest="unified_limits.interface"),
    *login_options(SECTION, "unified_limits.login"),
    Option(SECTION, "valid_interfaces", NAMES, ["internal", "public"],
           "interfaces of Keystone's endpoint, in the order of preference", dest="unified_limits.login.interfaces"),
    Option(SECTION, "timeout", types.Float(min=0.001, max=MAX_SECONDS), None, "seconds to wait for Keystone",
           dest="unified_limits.login.timeout", sample_default="10"),
    Option(SECTION, "connect_retries", at_most(MAX_SECONDS), Login.retries,
           "retries of a failed connection within that time", dest="unified_limits.login.retries"),
)  # fmt: skip


def read(values: Values) -> UnifiedLimits | None:
    """Return where the limits are; None where Keystone has none."""
    if not values.get("DEFAULT", "use_keystone_limits"):
        return None
    fields: dict[str, Any] = {name: value or None for name, value in values.fields(OPTIONS, "unified_limits").items()}
    invalid = any(values.is_invalid(SECTION, f"endpoint_{name}") for name in ("id", "service_type", "service_name"))
    if not invalid and not (fields["endpoint_id"] or fields["service_type"] or fields["service_name"]):
        text = "must name the endpoint whose limits apply; or set endpoint_service_type and endpoint_region_name"
        values.problem(SECTION, "endpoint_id", text)
    interfaces = tuple(values.get(SECTION, "valid_interfaces"))
    login = read_login(
        values, SECTION, interfaces, values.get(SECTION, "timeout"), values.get(SECTION, "connect_retries")
    )
    interface = (fields["interface"] or UnifiedLimits.interface).removesuffix("URL")
    return UnifiedLimits(**{**fields, "login": login, "interface": interface})
