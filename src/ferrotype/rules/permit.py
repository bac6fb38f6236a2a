"""Authorization. Two questions, always in this order: is the image visible, and does a policy rule allow it?

``is_visible`` answers for one image, ``scope`` names the branches of a list. They agree: ``is_visible`` holds for
every image that a list yields.
"""

from collections.abc import Mapping

from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, NotFound
from ferrotype.model.image import Image
from ferrotype.model.query import Branch, Scope
from ferrotype.rules.policy import Rule


def is_visible(caller: Caller, image: Image, shared: bool) -> bool:
    """Tell whether the caller can see the image. A policy can narrow this and never widen it."""
    return (
        caller.is_admin
        or image.owner is None
        or image.visibility in ("public", "community")
        or (caller.project is not None and caller.project == image.owner)
        or (shared and image.visibility == "shared")
    )


def is_owner(caller: Caller, image: Image) -> bool:
    """Tell whether the caller is an administrator or of the image's owner; an image without owner has none."""
    return caller.is_admin or (image.owner is not None and image.owner == caller.project)


def scope(caller: Caller, visibility: str | None) -> Scope:
    """Return the branches of a list of this visibility; None is the default view, "all" adds community images."""
    return Scope(
        caller.project, _admin_branches(caller, visibility) if caller.is_admin else _branches(caller, visibility)
    )


def _admin_branches(caller: Caller, visibility: str | None) -> tuple[Branch, ...]:
    match visibility:
        case "all":
            return (Branch("all"),)
        case None:  # Community images of other projects are listed on request only.
            return (Branch("default"),)
        case _:
            return (Branch("visible", visibility),)


def _branches(caller: Caller, visibility: str | None) -> tuple[Branch, ...]:
    own = Branch("own", None if visibility in (None, "all") else visibility)
    branches = [own] if caller.project is not None else []
    if visibility in (None, "all", "public"):
        branches.append(Branch("visible", "public"))
    if visibility in ("all", "community"):
        branches.append(Branch("visible", "community"))
    if visibility in (None, "all", "shared") and caller.project:
        branches.append(Branch("member"))
    return tuple(branches)


#: Actions allowed to anonymous callers when `allow_anonymous_access` is on.
ANONYMOUS_ACTIONS = frozenset(
    {
        "get_images", "get_image", "download_image", "download_from_store", "get_members", "get_member",
        "get_image_location", "fetch_image_location", "stores_info_detail",
    }
)  # fmt: skip

#: Actions that change an image or its members: the owner's and administrators', whatever the policy says (POL-30).
OWNER_ACTIONS = frozenset(
    {
        "modify_image", "delete_image", "upload_image", "deactivate", "reactivate", "add_member", "delete_member",
        "set_image_location", "delete_image_location", "add_image_location",
    }
)  # fmt: skip

#: Actions that another service of the cloud may do to images that it cannot see.
VISIBLE_TO_SERVICES = frozenset({"fetch_image_location", "add_image_location"})


class Authoriser:
    """Authorizes every access to an image. ``rules`` has a policy rule for each action.

    ``filters_lists``: the deployment overrides the rule ``get_image``, so every image of a list is checked with
    it; the default rule allows what the list's scope allows. ``guards_locations``: the deployment sets the rule
    ``get_image_location``, so it is asked wherever an image document shows a location (POL-32).
    ``projects_only``: a token scoped to a domain or to the system is refused, whatever its roles.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        filters_lists: bool = False,
        projects_only: bool = True,
        guards_locations: bool = False,
    ):
        self._rules = rules
        self.filters_lists = filters_lists
        self._guards_locations = guards_locations
        self._projects_only = projects_only

    def is_admin(self, caller: Caller) -> bool:
        """Tell whether the caller is an administrator (rule ``context_is_admin``)."""
        return not caller.anonymous and self._rules["context_is_admin"](caller, None, False)

    def allows(self, caller: Caller, action: str, image: Image | None = None, shared: bool = False) -> bool:
        """Tell whether the rule of the action allows it to the caller."""
        return not _is_anonymous_change(caller, action) and self._rules[action](caller, image, shared)

    def may_see_locations(self, caller: Caller, image: Image) -> bool:
        """Tell whether image documents show ``locations`` and ``direct_url`` of a visible image to the caller."""
        if not self._guards_locations:
            return True
        shared = not caller.is_admin and image.visibility == "shared" and image.owner != caller.project
        return self.allows(caller, "get_image_location", image, shared)

    def permit(self, caller: Caller, action: str, image: Image, shared: bool) -> None:
        """Raise unless ``caller`` may do ``action`` to ``image``.

        Raises NotFound when the caller cannot see the image, so that the error does not reveal its existence;
        Forbidden when the caller can see it. Other services may read and add locations of images they cannot see.
        Changes are for the owner and administrators: policy rules narrow that and never override it (POL-30).
        """
        is_service = action in VISIBLE_TO_SERVICES and "service" in caller.roles
        if not is_visible(caller, image, shared) and not is_service:
            raise NotFound(f"No image found with ID {image.id}.")
        permitted = action not in OWNER_ACTIONS or is_service or is_owner(caller, image)
        if permitted and self.allows(caller, action, image, shared):
            return
        if not self.allows(caller, "get_image", image, shared):
            raise NotFound(f"No image found with ID {image.id}.")
        raise Forbidden(f"You are not allowed to perform the action {action} on image {image.id}.")

    def require(self, caller: Caller, action: str) -> None:
        """Raise Forbidden unless ``caller`` may do ``action``, which involves no image."""
        self.check_scope(caller, action)
        if not self.allows(caller, action):
            raise Forbidden(f"You are not allowed to perform the action {action}.")

    def check_scope(self, caller: Caller, action: str) -> None:
        """Raise Forbidden when ``caller`` may not do ``action`` to any image; asked before the image is looked up.

        That holds for changes by anonymous callers, and for tokens that are scoped to a domain or to the system.
        """
        if _is_anonymous_change(caller, action):
            raise Forbidden("Read-only access: authenticate to make changes.")
        if self._projects_only and (caller.domain or caller.system):
            scope = "the system" if caller.system else "a domain"
            raise Forbidden(f"Images belong to projects, but this token is scoped to {scope}.")


def _is_anonymous_change(caller: Caller, action: str) -> bool:
    """Tell whether an anonymous caller tries to do more than read."""
    return caller.anonymous and action not in ANONYMOUS_ACTIONS
