"""Measuring: every step on every subject in turns, with the CPU and memory that it took."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench import process
from bench.load import Call, Refused, Tally, hammer
from bench.steps import DATA, FILE_STEPS, STEPS, Step, Subject

GIB = 1 << 30
MIB = 1 << 20
#: Files that one round uploads or downloads at most, however quick the service is.
MOST_FILES = 8


@dataclass
class Sample:
    """What was measured of one step of one service, over all rounds."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    database_cpu: float = 0.0
    others: float = 0.0
    bytes: int = 0
    peak: float | None = None
    failed: int = 0
    failure: str = ""

    def figures(self, subject: Subject) -> dict[str, Any]:
        """Return the figures as they are shown and kept. None: not known."""
        times, count = sorted(self.latencies), len(self.latencies)
        known, database = subject.pid is not None, subject.database_pid is not None
        cpu = self.cpu + self.database_cpu if known else None
        small, large = not self.bytes, bool(self.bytes)
        return {
            "requests": count,
            "failed": self.failed,
            "failure": self.failure,
            "per_second": count / self.seconds if small and self.seconds else None,
            "p50_ms": 1000 * times[count // 2] if count else None,
            "p99_ms": 1000 * times[min(count - 1, count * 99 // 100)] if count else None,
            "cpu_ms": 1000 * cpu / count if cpu is not None and count and small else None,
            "database_cpu_ms": 1000 * self.database_cpu / count if database and count and small else None,
            "mib_per_second": self.bytes / MIB / self.seconds if large and self.seconds else None,
            "cpu_s_per_gib": cpu / (self.bytes / GIB) if cpu is not None and large else None,
            "peak_mib": self.peak,
            "others": self.others / self.seconds if self.seconds else None,
        }


class Meter:
    """Counts CPU, memory and time of a subject between ``with`` and its end, into a sample."""

    def __init__(self, subject: Subject, sample: Sample):
        self._subject, self._sample = subject, sample

    def __enter__(self) -> None:
        process.forget_peak(self._subject.pid)
        self._before = self._read()

    def __exit__(self, *_: object) -> None:
        seconds, cpu, database, own, busy = (
            after - before for after, before in zip(self._read(), self._before, strict=True)
        )
        self._sample.seconds += seconds
        self._sample.cpu += cpu
        self._sample.database_cpu += database
        self._sample.others += max(0.0, busy - cpu - database - own)
        peak = process.peak_mib(self._subject.pid)
        if peak is not None:
            self._sample.peak = max(peak, self._sample.peak or 0.0)

    def _read(self) -> tuple[float, ...]:
        subject, own = self._subject, os.times()
        cpu, database = process.cpu(subject.pid), process.cpu(subject.database_pid)
        return time.perf_counter(), cpu, database, own.user + own.system, process.busy()


def measure_small(subject: Subject, step: Step, sample: Sample, connections: int, seconds: float) -> None:
    """Run a step with small requests for some seconds."""
    if step.repeats:  # Connections, caches and prepared statements are there before the clock runs.
        _hammer(subject, step.calls(subject), connections, min(0.3, seconds / 5))
    with Meter(subject, sample):
        tally = _hammer(subject, step.calls(subject), connections, seconds)
    sample.latencies += tally.latencies
    sample.failed += tally.failed
    sample.failure = sample.failure or tally.failure


def _hammer(subject: Subject, calls: Iterator[Call], connections: int, seconds: float) -> Tally:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tally = runner.run(hammer(subject.target, calls, connections, seconds))
    subject.made += tally.made
    return tally


def measure_files(subject: Subject, samples: dict[str, Sample], size: int, seconds: float) -> None:
    """Upload a file again and again for some seconds, then download the last one likewise."""
    upload, download = samples["upload"], samples["download"]
    for image_id in _for_some(seconds, subject.create):
        with Meter(subject, upload):
            upload.latencies.append(subject.target.send_file(f"/v2/images/{image_id}/file", size, DATA))
        upload.bytes += size
        for earlier in subject.filled[:-1]:
            subject.remove(earlier)
    last = subject.filled[-1]
    for image_id in _for_some(seconds, lambda: last):
        with Meter(subject, download):
            download.latencies.append(subject.target.receive_file(f"/v2/images/{image_id}/file", size))
        download.bytes += size
    subject.remove(last)


def _for_some(seconds: float, next_one: Callable[[], str]) -> Iterator[str]:
    end = time.monotonic() + seconds
    for count in range(MOST_FILES):
        if count and time.monotonic() >= end:
            return
        yield next_one()


@dataclass(frozen=True)
class Plan:
    """How much is measured: seconds a step in so many rounds, connections at once, MiB of a file."""

    seconds: float
    rounds: int
    connections: int
    size: int
    read_only: bool


def measure(subjects: list[Subject], plan: Plan) -> dict[str, dict[str, Sample]]:
    """Measure every step of every subject, in turns, and leave none of the images behind that this made."""
    names = [name for name, step in STEPS.items() if not (plan.read_only and step.writes)]
    files = () if plan.read_only else FILE_STEPS
    samples = {each.name: {name: Sample() for name in (*names, *files)} for each in subjects}
    seconds = plan.seconds / plan.rounds
    try:
        for each in subjects:
            each.look()
        for turn in range(plan.rounds):
            order = subjects[:: -1 if turn % 2 else 1]
            for name in names:
                for each in order:
                    _say(f"round {turn + 1} of {plan.rounds}: {name}, {each.name}")
                    measure_small(each, STEPS[name], samples[each.name][name], plan.connections, seconds)
            for each in order:
                _delete_images(each)
            for each in order if files else ():
                _say(f"round {turn + 1} of {plan.rounds}: files, {each.name}")
                measure_files(each, samples[each.name], plan.size * MIB, seconds)
    finally:
        for each in subjects:
            _delete_images(each)
    return samples


def _delete_images(subject: Subject) -> None:
    """Delete the created images; print a warning for those that cannot be deleted."""
    left = [*subject.made, *subject.filled]
    calls = (Call("DELETE", f"/v2/images/{image_id}", expected=(204, 404)) for image_id in left)
    try:
        tally = _hammer(subject, calls, 8, 60.0)
    except (Refused, OSError) as error:
        print(f"{subject.target.url} keeps up to {len(left)} images of this measurement: {error}", file=sys.stderr)
    else:
        if len(tally.latencies) < len(left):
            kept = len(left) - len(tally.latencies)
            print(f"{subject.target.url} keeps {kept} images of this measurement: {tally.failure}", file=sys.stderr)
    subject.made.clear()
    subject.filled.clear()


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
