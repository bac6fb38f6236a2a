"""System calls of a process, parsed from ``strace -f -y -xx`` in the order of their completion."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

#: Calls that change files or folders, or make that durable, or send something.
TRACED = (
    "openat,mkdir,mkdirat,write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,"
    "rename,renameat,renameat2,linkat,unlink,unlinkat,rmdir,sendto,sendmsg"
)
_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_FD = re.compile(r"(?:AT_FDCWD|\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_BYTE = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Call:
    """One call that succeeded. ``path`` is what it is about; ``other`` the new name of what is renamed or linked."""

    #: numbers of the lines in which it was entered and left
    begin: int
    end: int
    name: str
    path: str
    other: str = ""
    data: bytes = b""
    offset: int = -1
    flags: str = ""

    @property
    def is_write(self) -> bool:
        return self.name in ("write", "writev", "pwrite64", "pwritev", "sendto", "sendmsg")

    @property
    def is_sync(self) -> bool:
        return self.name in ("fsync", "fdatasync")


def tracing(strace: Path, log: Path) -> tuple[str, ...]:
    """Return the words that go in front of a command to have it traced; its process id stays what it was."""
    words = ("-D", "-f", "-y", "-xx", "-s", "16777216", "--seccomp-bpf", "-o", str(log), "-e", f"trace={TRACED}")
    return (str(strace), *words)


def calls(lines: Iterable[str]) -> list[Call]:
    """Return the calls of a log. Lines that it was about to write when it was cut off are left out."""
    begun: dict[str, tuple[int, str]] = {}
    found = []
    for number, line in enumerate(lines):
        parts = _LINE.match(line)
        if not parts:
            continue
        thread, text = parts.groups()
        if text.endswith("<unfinished ...>"):
            begun[thread] = number, text.removesuffix("<unfinished ...>").rstrip()
            continue
        begin = number
        if resumed := _RESUMED.match(text):
            begin, start = begun.pop(thread, (number, ""))
            text = start + resumed[1]
        call = _CALL.match(text)
        if call and int(call[3]) >= 0:
            found.append(_call(begin, number, call[1], call[2], int(call[3]), call[4] or ""))
    return found


def _call(begin: int, end: int, name: str, arguments: str, result: int, opened: str) -> Call:
    texts = [_bytes(each) for each in _TEXT.findall(arguments)]
    folders = [_bytes(each).decode() for each in _FD.findall(arguments)]
    if name in ("mkdir", "unlink", "rmdir"):
        return Call(begin, end, name, texts[0].decode())
    if name == "rename":
        return Call(begin, end, name, texts[0].decode(), texts[1].decode())
    if name in ("renameat", "renameat2", "linkat"):
        old, new = (str(Path(folder, text.decode())) for folder, text in zip(folders, texts, strict=True))
        return Call(begin, end, "link" if name == "linkat" else "rename", old, new)
    if name in ("mkdirat", "unlinkat"):
        return Call(begin, end, name.removesuffix("at"), str(Path(folders[0], texts[0].decode())))
    path = folders[0] if folders else ""
    if name == "openat":
        return Call(begin, end, name, str(Path(path, texts[0].decode())), flags=arguments.rsplit('"', 1)[1])
    last = arguments.rpartition(" ")[2]
    if name == "ftruncate":
        return Call(begin, end, name, path, offset=int(last))
    offset = int(last) if name == "pwrite64" else -1
    return Call(begin, end, name, path, data=b"".join(texts)[:result], offset=offset)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(_BYTE.sub(r"\1", text))


def order_is_broken(found: list[Call], root: Path) -> list[str]:
    """Return a sentence for every change that was answered before it was durable, or made before it was safe.

    ledger -> part -> fsync(part) -> rename -> fsync(folder) -> log of the database -> fsync(log) -> answer
    """
    wrong = []
    answers = [call for call in found if call.path.startswith("socket:") and call.data.startswith(b"HTTP/1.1 ")]
    inside = [call for call in found if call.path.startswith(f"{root}/") or call.path == str(root)]
    log = [call for call in inside if call.path.endswith("-wal")]

    def synced(path: str, after: int, before: int) -> bool:
        return any(c.is_sync and c.path == path and after < c.begin and c.end < before for c in inside)

    for call in inside:
        if call.name in ("mkdir", "rename", "link", "unlink") and not _passing(call.path):
            answer = next((each for each in answers if each.begin > call.end), None)
            parent = str(Path(call.path).parent)
            if answer and not synced(parent, call.end, answer.begin):
                wrong.append(f"{call.name} of {call.path} was not made durable before the next answer")
    for answer in answers:
        writes = [call for call in log if call.is_write and call.begin < answer.begin]
        if writes and not synced(writes[-1].path, writes[-1].end, answer.begin):
            wrong.append(f"{answer.data[:32]!r} was sent before the database's log was on the disk")
    for made in inside:
        if made.name != "openat" or "O_CREAT" not in made.flags or not made.path.endswith(".part"):
            continue
        previous = max((each.end for each in answers if each.end < made.begin), default=0)
        rows = [call for call in log if call.is_write and previous < call.begin < made.begin]
        if not rows or not synced(rows[-1].path, rows[-1].end, made.begin):
            wrong.append(f"{made.path} was made before the ledger's row was on the disk")
        writes = [call for call in inside if call.is_write and call.path == made.path and call.begin > made.end]
        named = next((c for c in inside if c.name == "rename" and c.path == made.path), None)
        if named and not (writes and synced(made.path, writes[-1].end, named.begin)):
            wrong.append(f"{made.path} got its name before its bytes were on the disk")
        if named:
            following = [call for call in log if call.is_write and call.begin > named.end]
            if not following or not synced(str(Path(named.other).parent), named.end, following[0].begin):
                wrong.append(f"the commit of {named.other} began before its name was on the disk")
    return wrong


def _passing(path: str) -> bool:
    """Whether the file is disposable: the database recreates it."""
    return path.endswith(("-shm", "-journal", "-wal"))
