"""A file whose lines cannot be changed or taken out unseen: each holds the hash of the one before.

Any number of processes append to one file. It may be moved away or emptied at any time: the next
line starts a new file and continues the chain, since `FILE.head` keeps the number and hash of the
last line. Whoever may write the file can forge all of it: keep the hash that `verify` tells
elsewhere.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

TAIL_BYTES = 64 * 1024  # more than any line has
LINE_MAX_BYTES = 8 * 1024
FIRST = ""  # what the first line of all names as the one before it


class Head(msgspec.Struct, frozen=True):
    """The last line of a chain."""

    number: int = 0
    hash: str = FIRST


class Checked(msgspec.Struct, frozen=True):
    """What was found in files: how many lines, the last one, what is wrong, what is only odd."""

    lines: int
    head: Head
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


class Linked(msgspec.Struct, frozen=True):
    """What links a line to the others."""

    n: int
    previous: str
    hash: str


class Chain:
    """Appends to one file, which only its owner may read. Every call may raise OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head_path = path.with_name(f"{path.name}.head")

    def append(self, records: Sequence[Mapping[str, object]]) -> None:
        """Write records at the end, a line each, and return when the disk has them."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._head_path) as head_file, _opened(self.path) as file:
            head, whole = _tail(file)
            head = head or _read_head(head_file)
            text = b"" if whole else b"\n"  # what was cut short stays, on a line of its own
            for record in records:
                line, head = _linked(record, head)
                text += line
            _write_all(file, text)
            os.fsync(file)
            os.pwrite(head_file, _head_text(head), 0)

    def last_lines(self, count: int) -> list[bytes]:
        """The newest lines, the oldest of them first; none when there is no file."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - count * LINE_MAX_BYTES))
                return file.read().splitlines()[-count:] if count else []
        except FileNotFoundError:
            return []

    def missing(self, head: Head) -> int:
        """How many lines were once written after `head`, by the file beside this one."""
        try:
            known = _parsed_head(self._head_path.read_bytes())
        except FileNotFoundError:
            return 0
        return max(0, known.number - head.number)


def verify(paths: Iterable[Path]) -> Checked:
    """Check files that continue one another, the oldest first. Raises OSError."""
    count, head = 0, Head()
    faults: list[str] = []
    remarks: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                where = f"{path.name}, line {number}"
                linked = _parsed(line)
                if linked is None:
                    remarks.append(f"{where}: cut short, or not a line of this log")
                    continue
                if not count and linked.previous != FIRST:
                    remarks.append(f"{where}: continues line {linked.n - 1} of an older file")
                elif linked.previous != head.hash or linked.n != head.number + 1:
                    faults.append(f"{where}: does not follow line {head.number}")
                if _hash_of(line) != linked.hash:
                    faults.append(f"{where}: was changed")
                count, head = count + 1, Head(linked.n, linked.hash)
    return Checked(count, head, tuple(faults), tuple(remarks))


def _linked(record: Mapping[str, object], before: Head) -> tuple[bytes, Head]:
    """A record as a line, and the head that it makes."""
    number = before.number + 1
    body = _encoded({"n": number, **record, "previous": before.hash})
    digest = hashlib.sha256(body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', Head(number, digest)


def _encoded(fields: Mapping[str, object]) -> bytes:
    body = msgspec.json.encode(fields, enc_hook=str)
    if len(body) <= LINE_MAX_BYTES - 100:
        return body
    kept = {name: str(value)[:200] for name, value in list(fields.items())[:16]}
    return msgspec.json.encode({**kept, "n": fields["n"], "previous": fields["previous"]})


def _hash_of(line: bytes) -> str:
    body, found, _ = line.rpartition(b',"hash":"')
    return hashlib.sha256(body + b"}").hexdigest() if found else ""


def _parsed(line: bytes) -> Linked | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=Linked)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _tail(file: int) -> tuple[Head | None, bool]:
    """The last complete line, if there is one, and whether the file ends with a line's end."""
    size = os.fstat(file).st_size
    tail = os.pread(file, TAIL_BYTES, max(0, size - TAIL_BYTES))
    for line in reversed(tail.splitlines(keepends=True)):
        if linked := _parsed(line):
            return Head(linked.n, linked.hash), tail.endswith(b"\n")
    return None, not tail or tail.endswith(b"\n")


def _head_text(head: Head) -> bytes:
    return f"{head.number:020} {head.hash:64}\n".encode()


def _read_head(file: int) -> Head:
    return _parsed_head(os.pread(file, 100, 0))


def _parsed_head(raw: bytes) -> Head:
    number, _, digest = raw.partition(b" ")
    return Head(int(number), digest.decode("ascii").strip()) if number.isdigit() else Head()


def _write_all(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file at `path`, made if need be, while nobody else has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)  # and with it the lock
