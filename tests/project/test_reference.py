"""The pages in docs/reference agree with the product."""

import re
from collections import Counter
from dataclasses import fields

import pytest
from reference import (
    HTTP,
    LIMITS,
    LOG_MESSAGES,
    calls,
    log_messages,
    parts,
    shown,
    table,
    value_of,
)

from ferrotype.server.limits import Limits
from ferrotype.web.errors import STATUSES

UNITS = {"": 1, "s": 1, "ms": 1e-3, "h": 3600, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MICROSECONDS = 1_000_000


@pytest.mark.parametrize(
    ("page", "name", "text"),
    [(page, name, text) for page, generated in parts().items() for name, text in generated],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_generated_parts_are_up_to_date(page, name, text) -> None:
    assert shown(page.read_text(), name) == text, "run: .venv/bin/python tests/project/reference.py"


def test_every_route_is_in_the_table_of_calls_with_its_policy_rules() -> None:
    rows = [row for row in table(HTTP, "call") if row["call"].split("`")[1].split()[1] not in OUTSIDE]
    listed = {tuple(row["call"].strip("`").split(" ")): row["policy"] for row in rows}
    assert listed == calls()


#: Paths that are answered before the table of routes is asked.
OUTSIDE = ("/", "/versions", "/v2", "/healthcheck", "/identity/v3", "/v3")


def test_every_status_of_an_error_is_explained() -> None:
    listed = {int(row["status"]) for row in table(HTTP, "status")}
    assert set(STATUSES.values()) - listed == set()


def test_every_warning_and_error_is_in_the_table_of_log_messages() -> None:
    rows = table(LOG_MESSAGES, "message")
    assert all(row["meaning"] and row["action"] for row in rows)
    listed = {(row["message"].strip("`"), row["level"]) for row in rows}
    logged = {(text, level) for _, level, text in log_messages() if text != "…"}
    assert listed - logged == set(), "no longer logged"
    assert logged - listed == set(), "not explained"


def test_every_module_that_logs_composed_sentences_is_named() -> None:
    # A message that is only "%s" cannot be found by its text.
    rows = table(LOG_MESSAGES, "composed in")
    listed = Counter(re.findall(r"`([\w/]+\.py)`", " ".join(row["composed in"] for row in rows)))
    assert listed == Counter(path for path, _, text in log_messages() if text == "…")


def test_limits_have_the_documented_values() -> None:
    rows = table(LIMITS, "constant")
    wrong = {}
    for row in rows:
        number, unit = re.fullmatch(r"([\d,.]+) ?(\w*)", row["value"]).groups()
        value = float(number.replace(",", "")) * UNITS[unit]
        actual = value_of(row["constant"].strip("`"))
        if actual not in (value, value * MICROSECONDS):
            wrong[row["constant"]] = actual
    assert wrong == {} and len(rows) > 40


def test_every_limit_of_a_connection_is_documented() -> None:
    listed = {row["constant"].strip("`") for row in table(LIMITS, "constant")}
    assert {f"server.limits.Limits.{field.name}" for field in fields(Limits)} - listed == set()
