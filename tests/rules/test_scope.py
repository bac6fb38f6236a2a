"""``is_visible`` and ``scope`` agree: what a list may contain can be shown, and comes by one branch or by two."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listing import belongs

from ferrotype.model.caller import Caller
from ferrotype.model.image import VISIBILITIES, Image
from ferrotype.model.member import STATUSES
from ferrotype.model.query import Branch, ImageQuery
from ferrotype.rules.permit import is_visible, scope

PROJECTS = ("p1", "p2", None)
CALLERS = [Caller(project=project, is_admin=admin) for project in PROJECTS for admin in (False, True)]

images = st.builds(Image, id=st.just("i"), owner=st.sampled_from(PROJECTS), visibility=st.sampled_from(VISIBILITIES))
shares = st.dictionaries(st.sampled_from(["p1", "p2"]), st.sampled_from(STATUSES), max_size=2)
queries = st.builds(
    ImageQuery,
    visibility=st.sampled_from([None, "all", *VISIBILITIES]),
    member_status=st.sampled_from([*STATUSES, "all"]),
)


def holds(branch: Branch, project: str | None, image: Image, share: str | None, member_status: str) -> bool:
    """What a branch says of itself, in Python."""
    own_image = project is not None and image.owner == project
    match branch.kind:
        case "own":
            return own_image and branch.visibility in (None, image.visibility)
        case "visible":
            return image.visibility == branch.visibility
        case "member":
            return image.visibility == "shared" and share is not None and member_status in ("all", share)
        case "all":
            return True
        case "default":
            return own_image or image.visibility != "community"
    raise AssertionError(branch)


# IMG-LIST-02/03/04, SEC-66
@given(st.sampled_from(CALLERS), images, shares, queries)
def test_an_image_of_the_list_is_in_one_or_two_branches(caller, image, shared, query) -> None:
    share = shared.get(caller.project)
    found = scope(caller, query.visibility)
    assert found.project == caller.project
    inside = [b for b in found.branches if holds(b, caller.project, image, share, query.member_status)]
    assert len(inside) <= 2
    assert bool(inside) == belongs(caller, image, shared, query)


# IMG-LIST-02
@given(st.sampled_from(CALLERS), images, shares, queries)
def test_every_listed_image_is_visible(caller, image, shared, query) -> None:
    share = shared.get(caller.project)
    branches = scope(caller, query.visibility).branches
    if any(holds(b, caller.project, image, share, query.member_status) for b in branches):
        assert is_visible(caller, image, share is not None)


# IMG-LIST-02, IMG-POL-06
@given(st.sampled_from(CALLERS), images, shares)
def test_visible_images_are_listed_except_ownerless_and_unlisted_ones(caller, image, shared) -> None:
    query = ImageQuery(visibility="all", member_status="all")
    if is_visible(caller, image, caller.project in shared) and (image.owner is not None or caller.is_admin):
        assert belongs(caller, image, shared, query)


# IMG-POL-01
@pytest.mark.parametrize(
    ("caller", "owner", "visibility", "shared", "seen"),
    [
        ("p1", "p1", "private", False, True),
        ("p1", "p2", "private", False, False),
        ("p1", "p2", "private", True, False),
        ("p1", "p2", "shared", False, False),
        ("p1", "p2", "shared", True, True),
        ("p1", "p2", "community", False, True),
        ("p1", "p2", "public", False, True),
        ("p1", None, "private", False, True),
        (None, "p2", "shared", False, False),
        (None, "p2", "private", False, False),
        (None, "p2", "public", False, True),
    ],
)
def test_other_callers_see_own_shared_and_open_images(caller, owner, visibility, shared, seen) -> None:
    image = Image(id="i", owner=owner, visibility=visibility)
    assert is_visible(Caller(project=caller), image, shared) is seen
    assert is_visible(Caller(project=caller, is_admin=True), image, shared)


def test_a_scope_is_empty_only_where_no_image_can_match() -> None:
    empty = {
        (caller.project, visibility)
        for caller, visibility in itertools.product(CALLERS, (None, "all", *VISIBILITIES))
        if not scope(caller, visibility).branches
    }
    assert empty == {(None, "private"), (None, "shared")}
