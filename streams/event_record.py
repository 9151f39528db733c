"""One event: what a line of the event stream says. No I/O, since child processes read it too."""

import msgspec

from streams.model import Lane, State


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
        lane=Lane.parse(lane),
        state=State(state),
        attempt=int(attempt),
        at_ms=int(event_id.split("-")[0]),
        fields={name: value for name, _, value in named},
    )
