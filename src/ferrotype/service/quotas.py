"""How much a project may have: by the configuration, or by what Keystone has registered."""

from typing import Any

from ferrotype.db import usage
from ferrotype.model.caller import Caller
from ferrotype.model.quota import MIB, Quota, Quotas
from ferrotype.service.context import ServiceContext

SIZE, STAGE, COUNT, UPLOADING = "image_size_total", "image_stage_total", "image_count_total", "image_count_uploading"


async def of(ctx: ServiceContext, project: str | None) -> Quotas:
    """Return what a project may have. Raises Busy where Keystone says it and cannot be asked.

    Never called in a transaction: Keystone may let us wait.
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


async def shown(ctx: ServiceContext, caller: Caller) -> dict[str, Any]:
    """Return the caller's project's use and limits as Keystone counts them; nothing where it does not."""
    if ctx.unified_limits is None:
        return {}
    quotas = await of(ctx, caller.project)
    used = await usage.of(ctx.db, caller.project)
    return {
        SIZE: {"usage": used.size // MIB, "limit": _in_mib(quotas.size)},
        STAGE: {"usage": used.stage // MIB, "limit": _in_mib(quotas.stage)},
        COUNT: {"usage": used.count, "limit": quotas.count.most},
        UPLOADING: {"usage": used.uploading, "limit": quotas.uploading.most},
    }


def _in_mib(quota: Quota) -> int:
    return quota.most // MIB if quota.counts else -1
