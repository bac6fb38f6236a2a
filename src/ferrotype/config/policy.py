"""Where the operator's policy files and property protections are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import types

from ferrotype.config.files import is_directory, no_file
from ferrotype.config.options import BOOL, TEXT, Option
from ferrotype.config.values import Values


@dataclass(frozen=True)
class Policy:
    """Where the policy files are. The service reads them at start and whenever they change."""

    file: Path | None = None
    dirs: tuple[Path, ...] = ()
    #: the default rules require a role; without, every user of a project may do everything in it
    new_defaults: bool = True
    #: refuse tokens whose scope is a domain or the system
    enforce_scope: bool = True
    #: the rule that replaces one that is referred to and does not exist
    default_rule: str = "default"


@dataclass(frozen=True)
class PropertyProtectionConfig:
    """The file that protects additional properties. ``by_roles``: it names roles, else policy rules."""

    file: Path | None = None
    by_roles: bool = True


OPTIONS = (
    Option("oslo_policy", "policy_file", TEXT, None,
           "policy file, beside the configuration; read again whenever it changes", dest="policy.file",
           reloadable=True, sample_default="policy.yaml, else policy.json"),
    Option("oslo_policy", "policy_dirs", types.String(), None, "directories of further policy files",
           dest="policy.dirs", reloadable=True, multi=True, sample_default="policy.d"),
    Option("oslo_policy", "policy_default_rule", TEXT, Policy.default_rule,
           "rule that replaces one that is referred to and does not exist",
           dest="policy.default_rule", reloadable=True),
    Option("oslo_policy", "enforce_new_defaults", BOOL, Policy.new_defaults,
           "the default rules require the roles admin, member or reader; off: any role in the project",
           dest="policy.new_defaults", reloadable=True),
    Option("oslo_policy", "enforce_scope", BOOL, Policy.enforce_scope,
           "refuse tokens whose scope is a domain or the system", dest="policy.enforce_scope", reloadable=True),
    Option("DEFAULT", "property_protection_file", TEXT, None,
           "file that says who may create, read, update and delete which additional properties;"
           " read again whenever it changes",
           dest="protection.file"),
    Option("DEFAULT", "property_protection_rule_format", types.String(choices=["roles", "policies"]), "roles",
           "whether that file names `roles` or policy rules (`policies`)", dest="protection.by_roles"),
)  # fmt: skip


def read(values: Values, directories: Sequence[Path]) -> Policy:
    """Return where the policy files are: in the first of ``directories``, the configuration's, that has them.

    A file that is set must exist: starting without it would allow what it was written to prevent (POL-27).
    """
    fields = values.fields(OPTIONS, "policy")
    names = [fields["file"]] if fields["file"] else ["policy.yaml", "policy.json"]
    candidates = [base / name for name in names for base in directories]
    dirs = []
    for name in fields["dirs"] or ["policy.d"]:
        places = [base / name for base in directories]
        dirs += [place for place in places if is_directory(place)][:1] or places[:1]  # POL-26
    existing = [path for path in candidates if not no_file(path)]
    if candidates and not existing and values.is_set("oslo_policy", "policy_file"):
        text = f"names {candidates[0]}, which {no_file(candidates[0])}; create it or remove the option"
        values.problem("oslo_policy", "policy_file", text)
    file = next(iter([*existing, *candidates]), None)
    return Policy(**{**fields, "file": file, "dirs": tuple(dict.fromkeys(dirs))})


def read_property_protection(values: Values, directories: Sequence[Path]) -> PropertyProtectionConfig:
    """Return which file protects properties; one that is named must exist in one of ``directories``."""
    name = values.get("DEFAULT", "property_protection_file")
    if not name:
        return PropertyProtectionConfig()
    file = next((path for path in (base / name for base in directories) if not no_file(path)), None)
    if file is None:
        values.problem("DEFAULT", "property_protection_file", "is not a file; name an existing file")
    by_roles = values.get("DEFAULT", "property_protection_rule_format") == "roles"
    return PropertyProtectionConfig(file or Path(name), by_roles)
