"""Refused data, and data accepted although a check failed: log line and response."""

import logging
from pathlib import Path

import pytest
from uploads import qcow2, upload

from ferrotype.config.formats import Formats
from ferrotype.testing.client import client

#: A boot sector with a protective partition and another one, as vendors' hybrid images have it.
HYBRID = bytes(446) + b"\0\0\2\0\xee\xff\xff\xff\1\0\0\0\0\x08\0\0" * 2 + bytes(32) + b"\x55\xaa"
TABLE = "[image_format] gpt_safety_checks_nonfatal = gptmbr"
MATCH = "[image_format] require_image_format_match = false"


@pytest.mark.parametrize(
    ("data", "declared", "line", "option"),
    [
        (HYBRID, "raw", f"declared=raw found=gpt check=gptmbr option='{TABLE}'", TABLE),
        (b"not at all", "qcow2", f"declared=qcow2 found=raw check=match option='{MATCH}'", MATCH),
        (qcow2(backing=True), "raw", "declared=raw found=qcow2 check=backing_file option='none'", ""),
    ],
)
def test_a_refusal_is_one_log_line_with_the_option(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, declared: str, line: str, option: str
) -> None:
    # IMG-UP-45, IMG-UP-48, RUL-70
    with client(tmp_path) as api:
        image = api.image(disk_format=declared)
        caplog.clear()
        reply = upload(api, image, data)
    assert reply.status == 415
    assert option in reply.text
    logged = [record.getMessage() for record in caplog.records if record.name == "ferrotype.data"]
    assert logged == [f"image data refused: image={image['id']} {line}"]


@pytest.mark.parametrize(
    ("data", "declared", "line"),
    [
        (HYBRID, "raw", f"declared=raw found=gpt check=gptmbr option='{TABLE}'"),
        (HYBRID, "aki", "declared=aki found=gpt check=gptmbr option='none'"),
        (b"not at all", "qcow2", f"declared=qcow2 found=raw check=match option='{MATCH}'"),
    ],
)
def test_a_tolerated_finding_is_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, declared: str, line: str
) -> None:
    # IMG-UP-45, IMP-100, IMP-113
    caplog.set_level(logging.INFO, "ferrotype.data")
    with client(tmp_path, formats=Formats(require_match=False, gpt_nonfatal=("gptmbr",))) as api:
        image = api.image(disk_format=declared)
        caplog.clear()
        assert upload(api, image, data).status == 204
    logged = [record.getMessage() for record in caplog.records if "check=" in record.getMessage()]
    assert logged == [f"image data accepted although a check failed: image={image['id']} {line}"]
