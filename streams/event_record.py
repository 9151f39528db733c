"""One event: what a line of the event stream says. No I/O, since child processes read it too."""

from functools import lru_cache

import msgspec

from streams.model import Lane, State

parse_lane = lru_cache(4_096)(Lane.parse)  # lanes are few, events are many


class Entry(msgspec.Struct, frozen=True):
    """What one call of a script said, as it is stored: a line for each event, oldest first."""

    id: str
    lines: bytes


class Event(msgspec.Struct, frozen=True):
    """One change; its id is the entry's with the number of its line.

    Kinds: submitted, active, progress, retrying, handed_back, cancelling, ended.
    """

    id: str
    kind: str
    job_id: str
    lane: Lane
    state: State
    attempt: int
    at_ms: int
    fields: dict[str, str]

    @property
    def app(self) -> str:
        """The app whose job it is."""
        return self.lane.app


def parse_entry(entry_id: str, lines: bytes) -> list[Event]:
    """The events of one stream entry: all that one call of a script said, a line each."""
    return [
        parse_event(f"{entry_id}-{number}", line)
        for number, line in enumerate(lines.decode().split("\n"))
    ]


def parse_event(event_id: str, line: str) -> Event:
    """One event from its line: kind, job, lane, state, attempt, then `name=value` fields."""
    kind, job_id, lane, state, attempt, *fields = line.split("\t")
    named = (field.partition("=") for field in fields if field)
    return Event(
        id=event_id,
        kind=kind,
        job_id=job_id,
        lane=parse_lane(lane),
        state=State(state),
        attempt=int(attempt),
        at_ms=int(event_id.split("-")[0]),
        fields={name: value for name, _, value in named},
    )
