"""Where an image's status may go, and what is forgotten on the way back."""

from itertools import product

import pytest
from msgspec.structs import replace

from ferrotype.model.errors import Conflict
from ferrotype.model.image import NEXT, Image, Location, transition

# IMG-STM-01..14
MAY = {
    ("queued", "saving"), ("queued", "uploading"), ("queued", "importing"), ("queued", "active"),
    ("saving", "active"), ("saving", "queued"), ("uploading", "importing"), ("uploading", "queued"),
    ("importing", "active"), ("importing", "queued"), ("active", "deactivated"), ("deactivated", "active"),
    ("active", "pending_delete"), ("pending_delete", "deleted"), ("pending_delete", "active"),
    *((status, "deleted") for status in
      ("queued", "saving", "uploading", "importing", "active", "deactivated", "killed")),
}  # fmt: skip
FULL = Image(
    id="i", name="n", size=4, virtual_size=5, checksum="c", os_hash_algo="sha512", os_hash_value="v",
    disk_format="raw", container_format="bare", tags=("t",), properties={"a": "x"},
    locations=(Location("file:///x", {}),),
)  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [*product(sorted(NEXT), repeat=2)])
def test_a_status_goes_where_the_table_says_and_nowhere_else(old: str, new: str) -> None:
    image = replace(FULL, status=old)
    if (old, new) in MAY:
        assert transition(image, new).status == new
    else:
        # IMG-STM-20
        with pytest.raises(Conflict):
            transition(image, new)


@pytest.mark.parametrize("old", ["saving", "uploading", "importing"])
def test_an_image_that_goes_back_knows_nothing_of_its_data(old: str) -> None:
    back = transition(replace(FULL, status=old), "queued")
    # IMG-STM-22, IMG-STM-06
    assert back == replace(
        FULL, status="queued", size=None, virtual_size=None, checksum=None, os_hash_algo=None, os_hash_value=None,
        locations=(),
    )  # fmt: skip
