"""A member: a project with which an image is shared."""

from msgspec import Struct

STATUSES = ("pending", "accepted", "rejected")


class Member(Struct, frozen=True, gc=False):
    """One project's share in one image. Times are microseconds since 1970, UTC."""

    image_id: str
    member: str
    status: str
    created_at: int
    updated_at: int
