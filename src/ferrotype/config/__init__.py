"""The configuration: files and command line in, one frozen and checked ``Config`` out.

Each area has a module with its record, its options and the function that reads one from the other. Components get
their record; they never read configuration themselves.
"""

from dataclasses import dataclass, field

from ferrotype.config.accounts import Accounts
from ferrotype.config.api import Api
from ferrotype.config.auth import Auth
from ferrotype.config.cors import Cors
from ferrotype.config.database import Database
from ferrotype.config.filtering import Filtering
from ferrotype.config.formats import Formats
from ferrotype.config.keystone import Keystone
from ferrotype.config.limits import Limits
from ferrotype.config.logs import Logging
from ferrotype.config.policy import Policy, PropertyProtectionConfig
from ferrotype.config.server import Server
from ferrotype.config.stores import Stores
from ferrotype.config.unified_limits import UnifiedLimits
from ferrotype.model.errors import FerrotypeError


class ConfigError(FerrotypeError):
    """The configuration is invalid. Each of ``problems`` is a sentence that says what to do."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """Everything that files, environment and command line set, and the defaults of the rest; all of it checked."""

    server: Server
    auth: Auth
    database: Database
    api: Api
    limits: Limits
    formats: Formats
    stores: Stores
    logging: Logging
    policy: Policy = field(default_factory=Policy)
    protection: PropertyProtectionConfig = field(default_factory=PropertyProtectionConfig)
    cors: Cors = field(default_factory=Cors)
    filtering: Filtering = field(default_factory=Filtering)
    #: where ``auth.strategy`` is http_basic
    accounts: Accounts | None = None
    #: where ``auth.strategy`` is keystone
    keystone: Keystone | None = None
    #: where the limits of projects are registered in Keystone
    unified_limits: UnifiedLimits | None = None
    #: sentences about options that are unknown, removed or questionable; logged at start
    warnings: tuple[str, ...] = ()
