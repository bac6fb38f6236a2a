"""The rules that hold when the deployment says nothing: action -> who may do it to which image.

Roles ``admin``, ``member`` and ``reader`` as in every OpenStack service. A rule sees the caller, the image
(None where none is involved) and whether the image is shared with the caller's project.
"""

from collections.abc import Callable, Mapping

from tintype.model.caller import Caller
from tintype.model.image import Image

Rule = Callable[[Caller, Image | None, bool], bool]


def _owns(caller: Caller, image: Image | None) -> bool:
    return image is not None and caller.project is not None and caller.project == image.owner


def admin(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Administrators only."""
    return caller.is_admin


def service(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Administrators and other services."""
    return caller.is_admin or "service" in caller.roles


def reader(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Whoever may read something in a project."""
    return caller.is_admin or "reader" in caller.roles


def owner_reads(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Readers of the project that owns the image."""
    return caller.is_admin or ("reader" in caller.roles and _owns(caller, image))


def owner_writes(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Members of the project that owns the image."""
    return caller.is_admin or ("member" in caller.roles and _owns(caller, image))


def _within_reach(caller: Caller, image: Image | None, shared: bool) -> bool:
    return _owns(caller, image) or shared or (image is not None and image.visibility != "private")


def reads(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Readers, where the image is theirs, shared with them, or not private."""
    return caller.is_admin or ("reader" in caller.roles and _within_reach(caller, image, shared))


def downloads(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Members, where the image is theirs, shared with them, or not private."""
    return caller.is_admin or ("member" in caller.roles and _within_reach(caller, image, shared))


def sees_members(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Readers of the owning project, and of projects that are members themselves."""
    return caller.is_admin or ("reader" in caller.roles and (_owns(caller, image) or shared))


def is_member(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Members of the project that the image is shared with."""
    return caller.is_admin or ("member" in caller.roles and shared)


def adds_location(caller: Caller, image: Image | None, shared: bool) -> bool:
    """Other services, and members of the project that owns the image."""
    return service(caller, image, shared) or owner_writes(caller, image, shared)


DEFAULTS: Mapping[str, Rule] = {
    "add_image": owner_writes,
    "get_images": reader,
    "get_image": reads,
    "modify_image": owner_writes,
    "delete_image": owner_writes,
    "publicize_image": admin,
    "communitize_image": owner_writes,
    "download_image": downloads,
    "download_from_store": downloads,
    "upload_image": owner_writes,
    "copy_image": admin,
    "get_image_location": owner_reads,
    "set_image_location": owner_writes,
    "delete_image_location": admin,
    "add_image_location": adds_location,
    "fetch_image_location": service,
    "add_member": owner_writes,
    "delete_member": owner_writes,
    "get_member": sees_members,
    "get_members": sees_members,
    "modify_member": is_member,
    "deactivate": owner_writes,
    "reactivate": owner_writes,
    "stores_info_detail": service,
}
