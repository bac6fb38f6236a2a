"""Share images with other projects."""

from ferrotype.db import members as rows
from ferrotype.model.caller import Caller
from ferrotype.model.errors import Conflict, Forbidden, NotFound
from ferrotype.model.image import Image
from ferrotype.model.member import Member, MemberStatus
from ferrotype.rules import limits, review
from ferrotype.service.context import ServiceContext, fetch


def _require_shared(image: Image) -> None:
    if image.visibility != "shared":
        raise Forbidden(f"Image {image.id} is {image.visibility}; only a shared image has members.")


def _no_member(image_id: str, member: str) -> NotFound:
    return NotFound(f"Image {image_id} has no member '{member[:64]}'.")


async def list_members(ctx: ServiceContext, caller: Caller, image_id: str) -> list[Member]:
    """Return the members of an image that the caller may show; a caller who is a member gets only its own entry."""
    image, shared = await fetch(ctx, ctx.db, caller, image_id, "get_members")
    _require_shared(image)
    if not ctx.authoriser.allows(caller, "get_member", image, shared):  # POL-31
        return []
    members = await rows.of_image(ctx.db, image_id)
    if caller.is_admin or caller.project == image.owner:
        return members
    return [each for each in members if each.member == caller.project]


async def show_member(ctx: ServiceContext, caller: Caller, image_id: str, member: str) -> Member:
    """Return one member. Raises NotFound if the caller may not see it."""
    try:
        image, _ = await fetch(ctx, ctx.db, caller, image_id, "get_member")
    except Forbidden:
        raise _no_member(image_id, member) from None
    found = await rows.one(ctx.db, image_id, member) if image.visibility == "shared" else None
    if found is None or not (caller.is_admin or caller.project in (image.owner, member)):
        raise _no_member(image_id, member)
    return found


async def add_member(ctx: ServiceContext, caller: Caller, image_id: str, member: str) -> Member:
    """Share an image with a project; the new member is pending. Raises Conflict if it is a member already."""
    async with ctx.db.begin() as tx:
        image, _ = await fetch(ctx, tx, caller, image_id, "add_member", lock=True)
        _require_shared(image)
        review.reject_control_chars("A member", member)
        present = await rows.of_image(tx, image_id)
        limits.members_fit(len(present) + 1, ctx.config.limits)
        if any(each.member == member for each in present):
            raise Conflict(f"Image {image_id} is already shared with '{member[:64]}'.")
        return await rows.add(tx, image, member)


async def set_member_status(
    ctx: ServiceContext, caller: Caller, image_id: str, member: str, status: MemberStatus
) -> Member:
    """Set the status of a member on its own behalf. Raises Forbidden for the image's owner (IMG-MEM-10)."""
    is_member = caller.is_admin or caller.project == member
    async with ctx.db.begin() as tx:
        try:
            image, _ = await fetch(
                ctx, tx, caller, image_id, "modify_member" if is_member else "get_image", lock=True
            )
        except Forbidden:
            seen, _ = await fetch(ctx, tx, caller, image_id, "get_image")
            if seen.visibility == "shared" and await rows.one(tx, image_id, member) is None:
                raise _no_member(image_id, member) from None
            raise
        _require_shared(image)
        if not (is_member or caller.project == image.owner) or await rows.one(tx, image_id, member) is None:
            raise _no_member(image_id, member)
        if not is_member or (caller.project == image.owner and not caller.is_admin):
            raise Forbidden("Only the member itself can change its status (modify_member).")
        changed = await rows.set_status(tx, image_id, member, status)
        if changed is None:
            raise _no_member(image_id, member)
        return changed


async def remove_member(ctx: ServiceContext, caller: Caller, image_id: str, member: str) -> None:
    """Stop sharing an image with a project. Raises NotFound if it is not a member."""
    async with ctx.db.begin() as tx:
        try:
            image, _ = await fetch(ctx, tx, caller, image_id, "delete_member", lock=True)
        except Forbidden:
            seen, _ = await fetch(ctx, tx, caller, image_id, "get_image")
            if seen.visibility == "shared" and caller.project not in (seen.owner, member):
                raise _no_member(image_id, member) from None  # Members cannot see each other.
            raise
        _require_shared(image)
        if not await rows.remove(tx, image_id, member):
            raise _no_member(image_id, member)
