"""May they touch it? Two questions, always in this order: do they see it, and does a rule allow it.

``sees`` says what one image is to a caller, ``scope`` where a list for the caller may come from. They say the
same in two ways: whatever a list yields can be shown.
"""

from collections.abc import Mapping

from ferrotype.model.caller import Caller
from ferrotype.model.errors import Forbidden, NotFound
from ferrotype.model.image import Image
from ferrotype.model.query import Branch, Scope
from ferrotype.rules.policy import Rule


def sees(caller: Caller, image: Image, shared: bool) -> bool:
    """Tell whether the image exists for the caller. No rule of a deployment can widen this."""
    return (
        caller.is_admin
        or image.owner is None
        or image.visibility in ("public", "community")
        or (caller.project is not None and caller.project == image.owner)
        or (shared and image.visibility == "shared")
    )


def scope(caller: Caller, visibility: str | None) -> Scope:
    """Return the branches that a list of this visibility (None: the default view, or "all") is made of."""
    return Scope(
        caller.project, _everything(caller, visibility) if caller.is_admin else _own_view(caller, visibility)
    )


def _everything(caller: Caller, visibility: str | None) -> tuple[Branch, ...]:
    match visibility:
        case "all":
            return (Branch("all"),)
        case None:  # Community images of others are only listed when somebody asks for them.
            return (Branch("default"),)
        case _:
            return (Branch("visible", visibility),)


def _own_view(caller: Caller, visibility: str | None) -> tuple[Branch, ...]:
    own = Branch("own", None if visibility in (None, "all") else visibility)
    branches = [own] if caller.project is not None else []
    if visibility in (None, "all", "public"):
        branches.append(Branch("visible", "public"))
    if visibility in ("all", "community"):
        branches.append(Branch("visible", "community"))
    if visibility in (None, "all", "shared") and caller.project:
        branches.append(Branch("member"))
    return tuple(branches)


#: What somebody may ask whom nobody has identified, where the deployment lets such people in at all.
READS = frozenset(
    {
        "get_images", "get_image", "download_image", "download_from_store", "get_members", "get_member",
        "get_image_location", "fetch_image_location", "stores_info_detail",
    }
)  # fmt: skip

#: What another service of the cloud may ask about images that it does not see.
BEYOND_THE_VIEW = frozenset({"fetch_image_location", "add_image_location"})


class Authoriser:
    """Every access to an image passes here. ``rules`` say for each action who may do it.

    ``narrows``: the deployment has a rule of its own for ``get_image``, so what a list finds is judged one
    by one; the usual rule says nothing more than the list's own question. ``projects_only``: a token for a
    domain or for the system may do nothing here, whatever its roles.
    """

    def __init__(self, rules: Mapping[str, Rule], narrows: bool = False, projects_only: bool = True):
        self._rules = rules
        self.narrows = narrows
        self._projects_only = projects_only

    def is_admin(self, caller: Caller) -> bool:
        """Tell whether the rules make an administrator of the caller."""
        return not caller.anonymous and self._rules["context_is_admin"](caller, None, False)

    def allows(self, caller: Caller, action: str, image: Image | None = None, shared: bool = False) -> bool:
        """Tell whether the action's rule lets the caller do it."""
        return not _changes_unknown(caller, action) and self._rules[action](caller, image, shared)

    def permit(self, caller: Caller, action: str, image: Image, shared: bool) -> None:
        """Raise unless ``caller`` may do ``action`` to ``image``.

        An image that the caller may not even see is *not found*: a refusal
        must never reveal that something exists, and no policy widens the view.
        Only locations may be asked for beyond it, by other services.
        """
        beyond = action in BEYOND_THE_VIEW and "service" in caller.roles
        if not sees(caller, image, shared) and not beyond:
            raise NotFound(f"No image found with ID {image.id}.")
        if self.allows(caller, action, image, shared):
            return
        if not self.allows(caller, "get_image", image, shared):
            raise NotFound(f"No image found with ID {image.id}.")
        raise Forbidden(f"You are not allowed to do this ({action}) to image {image.id}.")

    def permit_at_all(self, caller: Caller, action: str) -> None:
        """Raise Forbidden unless ``caller`` may do ``action``, where no image is involved."""
        self.admit(caller, action)
        if not self.allows(caller, action):
            raise Forbidden(f"You are not allowed to do this ({action}).")

    def admit(self, caller: Caller, action: str) -> None:
        """Raise Forbidden for whoever may do nothing of the kind, whatever the image: before it is looked up.

        Those are tokens of a domain or of the system, and changes by somebody whom nobody has identified.
        """
        if _changes_unknown(caller, action):
            raise Forbidden("Read-only access: a token is needed to change anything.")
        if self._projects_only and (caller.domain or caller.system):
            scope = "the system" if caller.system else "a domain"
            raise Forbidden(f"Images belong to projects; this token is for {scope}.")


def _changes_unknown(caller: Caller, action: str) -> bool:
    """Tell whether somebody who is not identified wants more than to read."""
    return caller.anonymous and action not in READS
