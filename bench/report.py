"""Print results: a table for each service, and ratios between two."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

Figures = Mapping[str, Mapping[str, Any]]

#: key of a figure -> heading, decimals
COLUMNS: Mapping[str, tuple[str, int]] = {
    "per_second": ("req/s", 0),
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "cpu_ms": ("CPU ms", 2),
    "database_cpu_ms": ("of it db", 2),
    "mib_per_second": ("MiB/s", 0),
    "cpu_s_per_gib": ("CPU s/GiB", 2),
    "peak_mib": ("peak MiB", 0),
    "others": ("others", 1),
}
#: Figures that a comparison shows, and whether more of it is better.
COMPARED = {
    "per_second": True,
    "p50_ms": False,
    "p99_ms": False,
    "cpu_ms": False,
    "mib_per_second": True,
    "cpu_s_per_gib": False,
    "peak_mib": False,
}
#: What two measurements of the same thing may differ by: on a quiet machine, and on one where others keep more
#: than so many processors busy.
NOISE, BUSY_NOISE, BUSY = 0.10, 0.50, 0.3


def table(steps: Figures) -> str:
    """Return one service's figures. A column that nothing has is left out."""
    keys = [key for key in COLUMNS if any(figures.get(key) is not None for figures in steps.values())]
    rows = [["", *(COLUMNS[key][0] for key in keys)]]
    for name, figures in steps.items():
        rows.append([name, *(_number(figures.get(key), COLUMNS[key][1]) for key in keys)])
    return _aligned(rows)


def comparison(now: Figures, before: Figures) -> str:
    """Return now divided by before, step by step, and in words what changed by more than noise."""
    both = [name for name in now if name in before]
    keys = [key for key in COMPARED if any(_ratio(now[name], before[name], key) is not None for name in both)]
    rows = [["now / before", *(COLUMNS[key][0] for key in keys)]]
    for name in both:
        rows.append([name, *(_number(_ratio(now[name], before[name], key), 2) for key in keys)])
    return "\n".join([_aligned(rows), "", *_verdict(now, before, both)])


def _verdict(now: Figures, before: Figures, both: list[str]) -> Iterator[str]:
    """Compare CPU if known, because it depends least on other load; otherwise the median."""
    better, worse = [], []
    others = [figures[name].get("others") or 0.0 for figures in (now, before) for name in both]
    noise = NOISE
    if others and statistics.median(others) > BUSY:
        noise = BUSY_NOISE
        yield f"This machine was busy with other things: a change of less than {noise:.0%} is not significant."
    for name in both:
        keys = [key for key in ("cpu_s_per_gib", "cpu_ms", "p50_ms") if _ratio(now[name], before[name], key)]
        if not keys:
            continue
        ratio = _ratio(now[name], before[name], keys[0]) or 1.0
        text = f"{name} ({COLUMNS[keys[0]][0]} x {ratio:.2f})"
        if ratio > 1 + noise:
            worse.append(text)
        elif ratio < 1 / (1 + noise):
            better.append(text)
    yield f"slower: {', '.join(worse) or 'nothing'}"
    yield f"faster: {', '.join(better) or 'nothing'}"


def _ratio(now: Mapping[str, Any], before: Mapping[str, Any], key: str) -> float | None:
    one, other = now.get(key), before.get(key)
    return one / other if one and other else None


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:,.{decimals}f}"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
