"""How fast is a service, and did this commit make it slower?

    scripts/bench                               this checkout, started for the purpose, on SQLite
    scripts/bench --database postgresql         the same on a PostgreSQL of its own
    scripts/bench --against HEAD~1              this checkout and a revision, in turns, and the ratios
    scripts/bench --json new.json --compare old.json
    scripts/bench --endpoint https://images.example.org:9292 --header 'X-Auth-Token: ...' --read-only

docs/benchmarks.md says how to read the figures.
"""

import argparse
import ipaddress
import json
import os
import platform
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import report
from bench.load import Refused, Target
from bench.measure import Plan, measure
from bench.started import CannotStart, started
from bench.steps import Subject

FORMAT = 1


def main() -> int:
    """Measure what the command line names, print it, and return the exit code."""
    options = _options()
    plan = Plan(options.seconds, options.rounds, options.connections, options.size, options.read_only)
    earlier = _earlier(options.compare) if options.compare else None
    try:
        with ExitStack() as stack:
            subjects = _subjects(options, stack)
            samples = measure(subjects, plan)
    except (Refused, CannotStart, OSError, EOFError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    figures = {
        each.name: {name: sample.figures(each) for name, sample in samples[each.name].items()} for each in subjects
    }
    for each in subjects:
        print(f"\n{each.name}: {each.revision} at {each.target.url}\n\n{report.table(figures[each.name])}")
    if len({len(each.there) for each in subjects}) > 1:
        counts = ", ".join(f"{each.name}: {len(each.there)}" for each in subjects)
        print(f"\nThe services list different numbers of images ({counts}): their lists do not compare.")
    first, *others = (figures[each.name] for each in subjects)
    for other in others:
        print(f"\n{report.comparison(first, other)}")
    if earlier is not None:
        print(f"\ncompared with {options.compare}\n\n{report.comparison(first, earlier)}")
    failures = [f"{name}: {sample.failed} failed, the first was {sample.failure}"
                for each in samples.values() for name, sample in each.items() if sample.failed]  # fmt: skip
    print("".join(f"\n{line}" for line in failures), file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(_document(options, subjects, figures), indent=1) + "\n")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    there = parser.add_argument_group("a service that runs already")
    there.add_argument("--endpoint", metavar="URL", help="measure this one instead of starting one")
    there.add_argument("--header", metavar="NAME: VALUE", action="append", default=[], help="sent with every request")
    there.add_argument(
        "--pid", type=int, help="the service's process: its CPU and memory are measured, and its children's"
    )
    there.add_argument("--db-pid", type=int, help="likewise for the database server")
    there.add_argument("--read-only", action="store_true", help="leave out every step that makes or changes images")
    own = parser.add_argument_group("a service that is started for this")
    own.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    own.add_argument("--workers", type=int, help="1 on SQLite, else 2")
    own.add_argument("--images", type=int, default=1000, help="seeded before; default 1000")
    own.add_argument("--against", metavar="GITREV", help="measure this revision as well, in turns")
    how = parser.add_argument_group("how much")
    how.add_argument("--seconds", type=float, default=3.0, help="for each step; default 3")
    how.add_argument("--rounds", type=int, default=2, help="into which the seconds are divided; default 2")
    how.add_argument("--connections", type=int, default=8, help="for small requests; default 8")
    how.add_argument("--size", type=int, default=256, help="MiB of a file; default 256")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print the ratios to an earlier --json FILE")
    options = parser.parse_args()
    if options.endpoint and options.against:
        parser.error("--against starts services of this repository; it does not go with --endpoint")
    if min(options.seconds, options.rounds, options.connections, options.size, options.images) <= 0:
        parser.error("seconds, rounds, connections, size and images must be more than 0")
    return options


def _subjects(options: argparse.Namespace, stack: ExitStack) -> list[Subject]:
    """Return what is to be measured, running."""
    if options.endpoint:
        headers = dict(_header(text) for text in options.header)
        target = Target(options.endpoint, headers)
        if not options.read_only and not _is_this_machine(target.host):
            print(
                f"bench: {target.url} is not on this machine. Thousands of images will be made there and deleted"
                " again, and files uploaded; --read-only leaves that out.",
                file=sys.stderr,
            )
        return [Subject("endpoint", "not known", target, options.pid, options.db_pid)]
    subjects = []
    workers = options.workers or (1 if options.database == "sqlite" else 2)
    for revision in (None, options.against) if options.against else (None,):
        service = stack.enter_context(started(revision, options.database, workers, options.images))
        subjects.append(
            Subject(
                revision or "checkout", service.revision, Target(service.url, {}), service.pid, service.database_pid
            )
        )
    return subjects


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise Refused(f"--header wants 'NAME: VALUE', not '{text}'")
    return name.strip(), value.strip()


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # A name may lead anywhere.


def _document(options: argparse.Namespace, subjects: list[Subject], figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "settings": {
            key: getattr(options, key)
            for key in ("database", "workers", "images", "seconds", "rounds", "connections", "size", "read_only")
        },
        "services": {
            each.name: {
                "url": each.target.url,
                "revision": each.revision,
                "property": "=".join(each.filter),
                "listed": len(each.there),
                "steps": figures[each.name],
            }
            for each in subjects
        },
    }


def _earlier(file: Path) -> dict[str, Any]:
    """Return the figures of the first service in a file of an earlier run."""
    document = json.loads(file.read_text())
    if document.get("format") != FORMAT:
        raise SystemExit(f"bench: {file} was not written by --json of this version")
    steps: dict[str, Any] = next(iter(document["services"].values()))["steps"]
    return steps


if __name__ == "__main__":
    sys.exit(main())
