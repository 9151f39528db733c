"""Schedules: when their ticks are, and which of those that are due run.

No clock and no Redis: an instant follows from the schedule alone, so that every process computes
the same ones. Instants are wall milliseconds.
"""

import hashlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain, count, islice, pairwise, takewhile

import msgspec

from streams.cron import check_line, due_times, zone_of
from streams.errors import InvalidInput
from streams.model import NewJob

ON_TIME_MS = 60_000  # a tick that could not run for longer is missed
PERIOD_MIN_MS = 1_000
LAST_MS = 32_503_680_000_000  # the year 3000: no instant is later
BACKLOG_MAX = 2_000  # due ticks that are looked at, the newest
GAPS = 100  # between the next instants, of which none may be shorter than the jitter


class Misfire(StrEnum):
    """What becomes of ticks that were missed: nothing, the newest of them runs, or all do."""

    SKIP = "skip"
    LATEST = "latest"
    ALL = "all"


class Overlap(StrEnum):
    """Whether a tick runs while the job of the one before has not ended."""

    ALLOW = "allow"
    SKIP = "skip"


class Timing(msgspec.Struct, frozen=True):
    """When: either a cron line, or an interval that is counted from `starts_ms`."""

    cron: str = ""  # five fields, or six with seconds in front
    every_ms: int = 0
    zone: str = "UTC"  # IANA name: where the wall is whose time a cron line means
    starts_ms: int = 0  # no instant before it
    ends_ms: int = 0  # no instant from it on; 0 for never
    jitter_ms: int = 0  # each tick runs less than this after its instant


class Schedule(msgspec.Struct, frozen=True):
    """What an app wants done, and when; `job` is complete but for its id."""

    app: str
    name: str
    timing: Timing
    job: NewJob
    misfire: Misfire = Misfire.LATEST
    misfire_window_ms: int = 86_400_000  # `all`: older ticks are dropped
    misfire_max: int = 100  # `all`: the newest so many run, 1 to 1,000
    overlap: Overlap = Overlap.ALLOW
    expires_ms: int = 0  # a tick's job that did not start so long after it fired; 0 for never
    created_ms: int = 0
    declared: bool = False  # in the settings of a gateway

    @property
    def key(self) -> str:
        """`app|name`: no two schedules have it in common."""
        return f"{self.app}|{self.name}"


class Plan(msgspec.Struct, frozen=True):
    """What to do about a schedule that is due."""

    ticks: tuple[int, ...]  # instants to fire, oldest first
    missed: int  # due, and dropped
    until_ms: int  # the last instant that this deals with
    next_ms: int  # the first that it does not; 0 when there is none


def plan(schedule: Schedule, next_ms: int, now_ms: int, ticks_max: int = 100) -> Plan | None:
    """What to do at `now_ms` about a schedule that stands at `next_ms`; None: nothing yet.

    Ticks beyond `ticks_max` are left to the next plan, which is due at once.
    """
    due = _due(schedule, next_ms, now_ms)
    if not due:
        return None
    kept = _kept(schedule, due, now_ms)
    missed = len(due) - len(kept)
    if len(kept) > ticks_max:
        return Plan(tuple(kept[:ticks_max]), missed, kept[ticks_max - 1], kept[ticks_max])
    following = next(instants(schedule.timing, due[-1]), 0)
    return Plan(tuple(kept), missed, due[-1], following)


def run_ms(schedule: Schedule, instant_ms: int) -> int:
    """When the tick of an instant runs: later by its jitter, which everybody computes alike."""
    jitter_ms = schedule.timing.jitter_ms
    if not jitter_ms:
        return instant_ms
    digest = hashlib.sha256(f"{schedule.key}|{instant_ms}".encode()).digest()
    return instant_ms + int.from_bytes(digest[:8], "big") % jitter_ms


def instants(timing: Timing, after_ms: int) -> Iterator[int]:
    """The instants after a moment, in order; the same ones wherever one begins to look."""
    after_ms = max(after_ms, timing.starts_ms - 1)
    if after_ms >= LAST_MS:
        return iter(())
    found = _of_cron(timing, after_ms) if timing.cron else _of_interval(timing, after_ms)
    end_ms = min(timing.ends_ms or LAST_MS, LAST_MS)
    return takewhile(lambda instant_ms: instant_ms < end_ms, found)


def check(timing: Timing, now_ms: int) -> None:
    """Raise InvalidInput for a timing that is none, or has no instant after `now_ms`."""
    if bool(timing.cron) == bool(timing.every_ms):
        raise InvalidInput("either `cron` or `every_s` is needed, and not both", "$.cron")
    if timing.cron:
        check_line(timing.cron)
    elif timing.every_ms < PERIOD_MIN_MS:
        raise InvalidInput("an interval has at least one second", "$.every_s")
    zone_of(timing.zone)
    if timing.ends_ms and timing.ends_ms <= timing.starts_ms:
        raise InvalidInput("ends before it starts", "$.ends_at")
    coming = list(islice(instants(timing, now_ms), GAPS if timing.jitter_ms else 1))
    if not coming:
        raise InvalidInput("no instant is left between now and the end", "$.ends_at")
    shortest = min((b - a for a, b in pairwise(coming)), default=LAST_MS)
    if timing.jitter_ms > shortest:
        said = f"longer than the {shortest / 1_000:g} s between two instants"
        raise InvalidInput(said, "$.jitter_s")


def _of_interval(timing: Timing, after_ms: int) -> Iterator[int]:
    first = (after_ms - timing.starts_ms) // timing.every_ms + 1
    return (timing.starts_ms + number * timing.every_ms for number in count(first))


def _of_cron(timing: Timing, after_ms: int) -> Iterator[int]:
    times = due_times(timing.cron, zone_of(timing.zone), after_ms // 1_000)
    return (at_s * 1_000 for at_s in times)


def _due(schedule: Schedule, next_ms: int, now_ms: int) -> list[int]:
    """The instants from `next_ms` on whose ticks should have run by now; of many the newest."""
    timing = schedule.timing
    found = _late(schedule, chain([next_ms], instants(timing, next_ms)), now_ms)
    if len(found) <= BACKLOG_MAX:
        return found
    low, high = next_ms, now_ms
    enough = schedule.misfire_max + ON_TIME_MS // PERIOD_MIN_MS
    while high - low > 1 and not enough <= len(found) <= BACKLOG_MAX:
        middle = (low + high) // 2
        found = _late(schedule, instants(timing, middle), now_ms)
        low, high = (middle, high) if len(found) > BACKLOG_MAX else (low, middle)
    return found


def _late(schedule: Schedule, found: Iterator[int], now_ms: int) -> list[int]:
    due = takewhile(lambda instant_ms: run_ms(schedule, instant_ms) <= now_ms, found)
    return list(islice(due, BACKLOG_MAX + 1))


def _kept(schedule: Schedule, due: Sequence[int], now_ms: int) -> list[int]:
    """The ticks that run: those on time, and of the missed ones what the policy makes up for."""
    missed = [at for at in due if run_ms(schedule, at) < now_ms - ON_TIME_MS]
    on_time = [at for at in due if run_ms(schedule, at) >= now_ms - ON_TIME_MS]
    match schedule.misfire:
        case Misfire.SKIP:
            return on_time
        case Misfire.LATEST:
            return on_time or missed[-1:]
        case Misfire.ALL:
            oldest_ms = now_ms - schedule.misfire_window_ms
            late = [at for at in missed if run_ms(schedule, at) >= oldest_ms]
            return late[-schedule.misfire_max :] + on_time
