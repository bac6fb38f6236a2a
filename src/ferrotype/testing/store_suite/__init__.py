"""The contract of store drivers, as checks to run on a driver.

    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_the_driver_does_what_every_driver_does(check):
        asyncio.run(check(my_driver))

A check gets an empty driver and raises AssertionError if the driver breaks the contract. Stored data is read back,
so a driver that discards data fails every check that stores some. The checks need no test runner and no package
beyond Ferrotype.

=================== =========================================================================================
``CHECKS``          for every driver that writes; a few seconds
``reading(place)``  for a driver that only reads; ``place`` puts the objects there
``sizes_around``    sizes around the borders of this driver, such as its part size
``bounded_memory``  how much memory a transfer may need
``WHEN_FULL``       the back end has space for 4 MiB at least, and less than ``TOO_MUCH``
``WHEN_DENIED``     the back end can be read and refuses to be written
``WHEN_UNREACHABLE`` nothing answers where the back end should be
``WHEN_SLOW``       each call of the back end takes 0.1 s or more
``when_cut(cut)``   ``cut`` makes an object end too early while it is read
``LONG``            several GiB: minutes, and as much space
=================== =========================================================================================
"""

from ferrotype.testing.store_suite.faults import (
    TOO_MUCH,
    WHEN_DENIED,
    WHEN_FULL,
    WHEN_SLOW,
    WHEN_UNREACHABLE,
    when_cut,
)
from ferrotype.testing.store_suite.interruptions import (
    a_cancelled_put_leaves_nothing,
    a_failing_source_leaves_nothing,
    a_slow_source_is_waited_for,
    an_unfinished_object_is_listed_without_a_handle,
)
from ferrotype.testing.store_suite.reading import reading
from ferrotype.testing.store_suite.tools import (
    BATCH,
    KIB,
    MIB,
    NAMES,
    Check,
    Place,
    content_of,
    listed,
    name_of,
    names,
    put,
    put_bytes,
    source,
)
from ferrotype.testing.store_suite.writing import (
    a_probe_reports_health_and_leaves_nothing,
    an_existing_object_is_never_overwritten,
    bounded_memory,
    concurrent_puts_do_not_mix,
    deleted_objects_are_not_found,
    deletes_are_idempotent,
    deleting_while_reading_never_gives_wrong_bytes,
    many_objects_are_listed,
    names_that_begin_alike_are_different,
    objects_of_several_gibibytes_are_stored,
    properties_can_be_shown,
    sizes_around,
    stored_data_is_read_back,
    two_writers_of_one_name_never_mix,
)

CHECKS: tuple[Check, ...] = (
    stored_data_is_read_back,
    sizes_around(64 * KIB, MIB, BATCH, 2 * BATCH),
    *reading(put_bytes),
    a_failing_source_leaves_nothing,
    a_cancelled_put_leaves_nothing,
    an_unfinished_object_is_listed_without_a_handle,
    a_slow_source_is_waited_for,
    an_existing_object_is_never_overwritten,
    two_writers_of_one_name_never_mix,
    deletes_are_idempotent,
    names_that_begin_alike_are_different,
    many_objects_are_listed,
    concurrent_puts_do_not_mix,
    deleted_objects_are_not_found,
    deleting_while_reading_never_gives_wrong_bytes,
    a_probe_reports_health_and_leaves_nothing,
    properties_can_be_shown,
)
LONG: tuple[Check, ...] = (objects_of_several_gibibytes_are_stored,)

__all__ = (
    "CHECKS",
    "LONG",
    "NAMES",
    "TOO_MUCH",
    "WHEN_DENIED",
    "WHEN_FULL",
    "WHEN_SLOW",
    "WHEN_UNREACHABLE",
    "Check",
    "Place",
    "bounded_memory",
    "content_of",
    "listed",
    "name_of",
    "names",
    "put",
    "put_bytes",
    "reading",
    "sizes_around",
    "source",
    "when_cut",
)
