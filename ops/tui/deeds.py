"""Which key does what to what is chosen. Pure."""

from collections.abc import Sequence

import msgspec

from ops.tui.rows import Line
from ops.tui.source import Deed, Kind, Outcome, Verb
from ops.tui.state import State, Tab

# Capital letters only; of several verbs the one that what is chosen allows.
KEYS: dict[str, tuple[Verb, ...]] = {
    "C": (Verb.CANCEL,),
    "R": (Verb.RETRY, Verb.REPLAY),
    "P": (Verb.PROMOTE, Verb.PAUSE, Verb.RESUME),
    "D": (Verb.PURGE,),
    "T": (Verb.TRIGGER,),
}
OF_TABS: dict[Tab, str] = {
    Tab.LANES: "P pause/resume",
    Tab.JOBS: "C cancel  R retry  P promote",
    Tab.CALLBACKS: "R replay",
    Tab.FLOWS: "C cancel  R retry",
    Tab.SCHEDULES: "P pause/resume  T trigger",
    Tab.DEAD: "R retry  D forget",
}
PAST = {
    Verb.CANCEL: "cancelled or asked to stop",
    Verb.RETRY: "run again",
    Verb.PROMOTE: "promoted",
    Verb.PURGE: "forgotten",
    Verb.REPLAY: "sent again",
    Verb.PAUSE: "paused",
    Verb.RESUME: "resumed",
    Verb.TRIGGER: "triggered",
}
SAY = {Verb.PURGE: "forget"}  # what is said of a verb; else its own word


class Nothing(msgspec.Struct, frozen=True):
    """Why a key does nothing here."""

    why: str


def deed(state: State, lines: Sequence[Line], cursor: str, key: str) -> Deed | Nothing:
    """What a key does to what is marked, or else to the row of the cursor."""
    if state.read_only:
        return Nothing("read-only: started with --read-only")
    marked = state.look.marked
    chosen = [line.row for line in lines if line.row.key in (marked or {cursor})]
    for verb in KEYS[key]:
        fitting = [row for row in chosen if verb in row.acts]
        ids = tuple(dict.fromkeys(one for row in fitting for one in row.acts[verb]))
        kinds = {row.kind for row in fitting}
        if ids and len(kinds) == 1 and (kind := kinds.pop()) is not None:
            return Deed(verb, kind, ids)
    words = " or ".join(SAY.get(verb, str(verb)) for verb in KEYS[key])
    return Nothing(f"there is nothing here to {words}")


def question(wanted: Deed) -> str:
    """What is asked before it is done."""
    return f"{SAY.get(wanted.verb, str(wanted.verb)).capitalize()} {counted(wanted)}?"


def counted(wanted: Deed) -> str:
    """`3 jobs`, `1 class`."""
    count = len(wanted.ids)
    several = "classes" if wanted.kind is Kind.CLASS else f"{wanted.kind}s"
    return f"{count:,} {wanted.kind if count == 1 else several}"


def report(wanted: Deed, outcome: Outcome) -> str:
    """What is said after it was done."""
    done = f"{outcome.done:,} of {counted(wanted)} {PAST[wanted.verb]}"
    if not outcome.refused:
        return done
    more = f" and {len(outcome.refused) - 1} more" if len(outcome.refused) > 1 else ""
    return f"{done}; not {outcome.refused[0]}{more}"


def shown_ids(ids: Sequence[str], room: int) -> str:
    """Some of the ids that something will be done to."""
    more = f"\n… and {len(ids) - room:,} more" if len(ids) > room else ""
    return "\n".join(ids[:room]) + more
