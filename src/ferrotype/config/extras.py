"""Packages that only some configurations need. An extra of the distribution brings them: ``ferrotype[s3]``."""

from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

from ferrotype.config.values import Values

#: The modules that an extra brings, and that a type of store imports.
EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"s3": ("obstore", "boto3"), "gcs": ("obstore",), "azure": ("obstore",)}
)


def require(values: Values, section: str, extra: str) -> None:
    """Report a store whose extra is not installed; ``section`` is the store's (RUL-89)."""
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        values.problems.append(
            f"[{section}] is a store of type {extra}, which needs {' and '.join(missing)};"
            f" run: pip install 'ferrotype[{extra}]'"
        )
