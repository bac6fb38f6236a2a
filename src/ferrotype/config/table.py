"""All options, area by area, in the order of the documentation."""

from ferrotype.config import (
    accounts,
    api,
    auth,
    cors,
    database,
    filtering,
    formats,
    imports,
    keystone,
    limits,
    logs,
    policy,
    server,
    stores,
    unified_limits,
)
from ferrotype.config.options import Table

TABLE = Table(
    (
        *server.OPTIONS,
        *cors.OPTIONS,
        *auth.OPTIONS,
        *accounts.OPTIONS,
        *keystone.OPTIONS,
        *policy.OPTIONS,
        *database.OPTIONS,
        *api.OPTIONS,
        *limits.OPTIONS,
        *unified_limits.OPTIONS,
        *formats.OPTIONS,
        *stores.OPTIONS,
        *logs.OPTIONS,
        *filtering.OPTIONS,
        *imports.OPTIONS,
    )
)
