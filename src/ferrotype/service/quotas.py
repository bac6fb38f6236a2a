"""Quotas of a project: from the configuration, or from Keystone's unified limits."""

from ferrotype.db import usage
from ferrotype.model.caller import Caller
from ferrotype.model.quota import COUNT, MIB, SIZE, STAGE, UPLOADING, ProjectUsage, Quota, Quotas
from ferrotype.service.context import ServiceContext


async def of(ctx: ServiceContext, project: str | None) -> Quotas:
    """Return the quotas of a project. Raises Busy while Keystone's limits are not available.

    Not to be called in a transaction: it may wait for Keystone.
    """
    if ctx.unified_limits is None:
        most = ctx.config.limits.user_storage_quota
        return Quotas(
            Quota("user_storage_quota", most if most > 0 else -1, "bytes"),
            Quota(STAGE, unit="bytes"),
            Quota(COUNT),
            Quota(UPLOADING),
        )
    limits = await ctx.unified_limits.of(project)

    def bytes_of(resource: str) -> Quota:
        most = limits.get(resource, 0)
        return Quota(resource, most * MIB if most >= 0 else -1, "bytes")

    return Quotas(
        bytes_of(SIZE),
        bytes_of(STAGE),
        Quota(COUNT, limits.get(COUNT, 0)),
        Quota(UPLOADING, limits.get(UPLOADING, 0)),
    )


async def project_usage(ctx: ServiceContext, caller: Caller) -> ProjectUsage | None:
    """Return usage and quotas of the caller's project; None unless limits are Keystone's."""
    if ctx.unified_limits is None:
        return None
    quotas = await of(ctx, caller.project)
    return ProjectUsage(await usage.of(ctx.db, caller.project), quotas)
