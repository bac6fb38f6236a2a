"""A member: a project with which an image is shared."""

from typing import Literal, get_args

from msgspec import Struct

MemberStatus = Literal["pending", "accepted", "rejected"]

STATUSES: tuple[MemberStatus, ...] = get_args(MemberStatus)


class Member(Struct, frozen=True, gc=False):
    """One project's share in one image. Times are microseconds since 1970, UTC."""

    image_id: str
    member: str
    status: MemberStatus
    created_at: int
    updated_at: int
