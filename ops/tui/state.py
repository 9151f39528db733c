"""What the terminal UI knows and shows, and what each event makes of it. Pure: no clock, no Redis,
no terminal."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.wire_overview import OverviewView
from ops.tui.surroundings import Surroundings


class Tab(StrEnum):
    """The tabs, in their order."""

    LANES = "lanes"
    JOBS = "jobs"
    WORKERS = "workers"
    CALLBACKS = "callbacks"
    FLOWS = "flows"
    SCHEDULES = "schedules"
    DEAD = "dead"
    MODELS = "models"
    EVENTS = "events"


TABS = tuple(Tab)
OF_OVERVIEW = frozenset({Tab.LANES, Tab.EVENTS})  # need nothing else


class Look(msgspec.Struct, frozen=True):
    """How one tab is looked at."""

    filter: str = ""
    column: int | None = None  # sorted by; None: as it came
    descending: bool = False
    marked: frozenset[str] = frozenset()
    toggled: frozenset[str] = frozenset()  # rows that are not open, or closed, as they were made


class State(msgspec.Struct, frozen=True):
    """Everything that the screen is a function of, but the cursor and the size."""

    where: str = ""
    read_only: bool = False
    tab: Tab = Tab.LANES
    looks: Mapping[Tab, Look] = {}
    overview: OverviewView | None = None
    seen_ms: int = 0  # when the overview came
    data: Mapping[Tab, Any] = {}
    troubles: Mapping[str, str] = {}  # why a tab, or `""` the overview, was not to be had last
    surroundings: Surroundings = Surroundings()
    faults_only: bool = False
    wide: bool = False
    said: str = ""  # what was done last
    now_ms: int = 0

    @property
    def look(self) -> Look:
        """How the tab that is shown is looked at."""
        return self.looks.get(self.tab, Look())

    @property
    def trouble(self) -> str:
        """Why what is shown is not what is, empty while it is."""
        return self.troubles.get("", "") or self.troubles.get(self.tab, "")


# ---------------------------------------------------------------------- what happens


class Saw(msgspec.Struct, frozen=True):
    """An overview came."""

    overview: OverviewView
    at_ms: int


class Came(msgspec.Struct, frozen=True):
    """What a tab shows came."""

    tab: Tab
    data: Any
    at_ms: int


class Failed(msgspec.Struct, frozen=True):
    """It was not to be had: of a tab, or with "" of everything."""

    tab: str
    why: str
    at_ms: int


class Surrounded(msgspec.Struct, frozen=True):
    """What stands around Redis was looked at."""

    found: Surroundings


class Ticked(msgspec.Struct, frozen=True):
    """Time went by."""

    at_ms: int


class Chose(msgspec.Struct, frozen=True):
    """Another tab."""

    tab: Tab


class Filtered(msgspec.Struct, frozen=True):
    """Show what fits only."""

    wanted: str


class Sorted(msgspec.Struct, frozen=True):
    """Sort by a column; None: as it came."""

    column: int | None


class Turned(msgspec.Struct, frozen=True):
    """Sort the other way round."""


class Marked(msgspec.Struct, frozen=True):
    """Mark rows for an action; those that are all marked, no more."""

    keys: frozenset[str]


class Toggled(msgspec.Struct, frozen=True):
    """Open or close a row with others below it."""

    key: str


class FaultsOnly(msgspec.Struct, frozen=True):
    """Show what is wrong only, or everything again."""


class Widened(msgspec.Struct, frozen=True):
    """Show every column at full width, or what fits again."""


class Told(msgspec.Struct, frozen=True):
    """Something is to be said to whoever looks."""

    said: str


class Acted(msgspec.Struct, frozen=True):
    """An action was done; what was marked for it is no more."""

    said: str


Happening = (
    Saw
    | Came
    | Failed
    | Surrounded
    | Ticked
    | Chose
    | Filtered
    | Sorted
    | Turned
    | Marked
    | Toggled
    | FaultsOnly
    | Widened
    | Told
    | Acted
)


def reduce(state: State, happening: Happening) -> State:
    """The state after something happened."""
    match happening:
        case Saw(overview, at_ms):
            troubles = _without(state.troubles, "")
            return _with(state, overview=overview, seen_ms=at_ms, now_ms=at_ms, troubles=troubles)
        case Came(tab, data, at_ms):
            data_of = {**state.data, tab: data}
            troubles = _without(state.troubles, tab)
            return _with(state, data=data_of, now_ms=at_ms, troubles=troubles)
        case Failed(tab, why, at_ms):
            return _with(state, troubles={**state.troubles, tab: why}, now_ms=at_ms)
        case Surrounded(found):
            return _with(state, surroundings=found)
        case Ticked(at_ms):
            return _with(state, now_ms=at_ms)
        case Chose(tab):
            return _with(state, tab=tab, said="")
        case FaultsOnly():
            return _with(state, faults_only=not state.faults_only)
        case Widened():
            return _with(state, wide=not state.wide)
        case Told(said):
            return _with(state, said=said)
        case Acted(said):
            return _look(_with(state, said=said), marked=frozenset())
    return _looked(state, happening)


def _looked(state: State, happening: Filtered | Sorted | Turned | Marked | Toggled) -> State:
    """The state after something about how the tab is looked at."""
    look = state.look
    match happening:
        case Filtered(wanted):
            return _look(state, filter=wanted)
        case Sorted(column):
            return _look(state, column=column, descending=False)
        case Turned():
            return _look(state, descending=not look.descending)
        case Marked(keys):
            marked = look.marked - keys if keys <= look.marked else look.marked | keys
            return _look(state, marked=marked)
        case Toggled(key):
            return _look(state, toggled=look.toggled ^ {key})


def _look(state: State, **fields: Any) -> State:
    changed = msgspec.structs.replace(state.look, **fields)
    return _with(state, looks={**state.looks, state.tab: changed})


def _with(state: State, **fields: Any) -> State:
    return msgspec.structs.replace(state, **fields)


def _without(troubles: Mapping[str, str], name: str) -> Mapping[str, str]:
    return {key: why for key, why in troubles.items() if key != name}
