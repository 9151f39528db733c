"""What is kept of a job's attempts: when, where, how each ended, and what it logged.

The newest attempt stands in the record's `lease`, those before it in `try:<n>`; lines are in
`log:<n>`. All of it lives and goes with the record.
"""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from streams.leasing import Leased, parse_lease
from streams.model import Fault, State
from streams.scripts import text

ATTEMPTS_MAX = 20  # the newest; lua/lib/append.lua drops older ones


class AttemptEnding(StrEnum):
    """How an attempt ended; of the last one it is the state in which the job ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PUT_BACK = "put_back"  # it did not count
    HANDED_BACK = "handed_back"  # its worker stopped
    LOST = "lost"  # its worker fell silent
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    PARKED = "parked"  # a flow's own job, which waits for its stages


class LogLine(msgspec.Struct, frozen=True):
    """One line that a processor logged."""

    at_ms: int
    level: str
    message: str
    fields: msgspec.Raw  # JSON


class AttemptRecord(msgspec.Struct, frozen=True):
    """One attempt. `ended_ms` is 0 while it runs."""

    number: int
    started_ms: int
    ended_ms: int
    worker: str
    ending: AttemptEnding
    fault: Fault | None = None
    progress: float | None = None  # the last it said, 0 to 1
    note: str = ""
    log: tuple[LogLine, ...] = ()


def parse_attempts(row: Mapping[bytes, bytes]) -> list[AttemptRecord]:
    """The attempts of a job's whole record, oldest first."""
    logs = {_number(name): lines for name, lines in row.items() if name.startswith(b"log:")}
    found = {
        _number(name): _earlier(_number(name), line, logs)
        for name, line in row.items()
        if name.startswith(b"try:")
    }
    newest = parse_lease(row.get(b"lease"))
    if newest.attempt and newest.attempt not in found:
        found[newest.attempt] = _newest(newest, row, logs)
    return [found[number] for number in sorted(found)]


def _number(name: bytes) -> int:
    return int(name.partition(b":")[2])


def _earlier(number: int, line: bytes, logs: Mapping[int, bytes]) -> AttemptRecord:
    """An attempt that another followed, as lua/lib/append.lua kept it."""
    start, end, worker, ending, progress, note, _, code, message = text(line).split("\t", 8)
    return AttemptRecord(
        number=number,
        started_ms=int(start or 0),
        ended_ms=int(end or 0),
        worker=worker,
        ending=AttemptEnding(ending),
        fault=Fault(code, message) if code else None,
        progress=float(progress) if progress else None,
        note=note,
        log=parse_log(logs.get(number, b"")),
    )


def _newest(lease: Leased, row: Mapping[bytes, bytes], logs: Mapping[int, bytes]) -> AttemptRecord:
    state, code = State(text(row[b"state"])), text(row.get(b"code"))
    ended = state.ended
    failed = ended and state is not State.SUCCEEDED  # else the fault is that of an earlier one
    progress = text(row.get(b"progress"))
    return AttemptRecord(
        number=lease.attempt,
        started_ms=lease.started_ms,
        ended_ms=int(row.get(b"end", 0)) if ended else 0,
        worker=lease.worker,
        ending=_ending(state),
        fault=Fault(code, text(row.get(b"error"))) if failed and code else None,
        progress=float(progress) if progress else None,
        note=text(row.get(b"note")),
        log=parse_log(logs.get(lease.attempt, b"")),
    )


def _ending(state: State) -> AttemptEnding:
    if state.ended:
        return AttemptEnding(state)
    return AttemptEnding.RUNNING if state is State.ACTIVE else AttemptEnding.PARKED


def log_line(line: LogLine) -> bytes:
    """How a line is kept: moment, level, message, JSON, a tab between and a line's end behind."""
    head = f"{line.at_ms}\t{line.level}\t{line.message}\t".encode("utf-8", "replace")
    return head + bytes(line.fields) + b"\n"


def parse_log(kept: bytes) -> tuple[LogLine, ...]:
    """The lines that `log_line` wrote."""
    found = []
    for line in kept.splitlines():
        at_ms, level, message, fields = line.split(b"\t", 3)
        found.append(LogLine(int(at_ms), text(level), text(message), msgspec.Raw(fields)))
    return tuple(found)
