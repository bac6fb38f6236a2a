"""The samples in ``contrib``, adapted to a test: other paths, ports and users, and nothing else."""

from collections.abc import Mapping

from repository import ROOT

CONTRIB = ROOT / "contrib"


def adapted(name: str, changes: Mapping[str, object]) -> str:
    """Return the sample with each key replaced by its value. Every key must occur."""
    text = (CONTRIB / name).read_text()
    for old, new in changes.items():
        assert old in text, f"{name} does not contain {old!r}"
        text = text.replace(old, str(new))
    return text
