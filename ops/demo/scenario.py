"""What two apps submit in the demo, and how each job is to end. Nothing is done here."""

from collections.abc import Mapping
from typing import Any

import msgspec

from streams.model import Priority, State

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW
ETYDE, GOVEJLE = "etyde", "govejle"
APPS = (ETYDE, GOVEJLE)

WEEKLY = "govejle-weekly"
LONG_MS = 3_500  # longer than a lease of the demo, so that a worker surely stops amid it

PAGES = (
    *("bygningen-gormsgade", "musikteatret-svanesoeen", "oekolariet-foredrag"),
    *("jelling-aflyst", "spinderihallerne-hostile"),
)

FOR_CHILDREN = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "for_children": {"type": "boolean"}},
    "required": ["reason", "for_children"],
}


class Planned(msgspec.Struct, frozen=True):
    """A job to submit, under a name of its own, and the state it is to end in."""

    name: str
    app: str
    processor: str
    payload: Mapping[str, Any]
    priority: Priority = NORMAL
    ends: State = State.SUCCEEDED
    attempts_max: int = 4
    timeout_s: float = 60.0
    repeated: bool = False  # submitted twice with one idempotency key, as after a lost answer

    def fields(self, callback_url: str) -> dict[str, Any]:
        """The fields of POST /v1/jobs beside processor and payload."""
        return {
            "priority": self.priority,
            "attempts_max": self.attempts_max,
            "timeout_s": self.timeout_s,
            "idempotency_key": self.name,
            "callback": {"url": callback_url},
            "tags": [self.name],
        }


def first_wave(pages: str) -> list[Planned]:
    """Something of everything; `pages` is the origin of the event pages."""
    return [*_enrichments(pages), _weekly(pages), *_questions(), *_echoes(), *_failures(pages)]


def second_wave(pages: str) -> list[Planned]:
    """Arrives after the first worker was killed."""
    return [
        _echo("standing-still-1", ETYDE, HIGH, LONG_MS),
        _echo("standing-still-2", GOVEJLE, HIGH, LONG_MS),
        _echo("standing-still-3", ETYDE, NORMAL, 400),
        _page("read-again", f"{pages}/det-sker/oekolariet-foredrag?igen=1", HIGH),
        _ask("a-line-for-the-poster", GOVEJLE, "Skriv én linje til en plakat om jul i Jelling."),
    ]


def third_wave(pages: str) -> list[Planned]:
    """Arrives while two workers run, one of which will be told to stop."""
    return [
        *(_echo(f"handed-on-{number}", app, HIGH, LONG_MS) for number, app in _turns(6)),
        _page("read-once-more", f"{pages}/det-sker/bygningen-gormsgade?igen=2", LOW),
        _ask("one-more-word", ETYDE, "Hvad betyder ordet etude på dansk?", LOW),
    ]


def everything(pages: str) -> list[Planned]:
    """All that is submitted."""
    return [*first_wave(pages), *second_wave(pages), *third_wave(pages)]


def _enrichments(pages: str) -> list[Planned]:
    read = [_page(name, f"{pages}/det-sker/{name}") for name in PAGES]
    read[0] = msgspec.structs.replace(read[0], repeated=True)
    return [*read, _page("overloaded-at-first", f"{pages}/travlt/bygningen-gormsgade", HIGH)]


def _weekly(pages: str) -> Planned:
    """The newsletter, of all pages and one that is gone: a flow of some twenty jobs."""
    names = [*PAGES, "byparken-julesang"]
    urls = {f"gv-{name}": f"{pages}/det-sker/{name}" for name in names}
    given = {
        "issue_date": "2026-11-27",
        "pages": [
            *({"event_id": name, "url": url} for name, url in urls.items()),
            {"event_id": "gv-gone", "url": f"{pages}/nedlagt"},
        ],
    }
    return Planned("newsletter", GOVEJLE, WEEKLY, given, timeout_s=300.0)


def _questions() -> list[Planned]:
    about = "Er »Familiekoncert på Bygningen, lørdag kl. 11, gratis« for børn? Svar som JSON."
    return [
        _ask("visit", GOVEJLE, "Hvorfor skal man besøge Spinderihallerne i Vejle?", HIGH),
        _ask("chords", ETYDE, "Hvad er en akkord? Forklar det for en begynder."),
        _ask("practice", ETYDE, "Hvordan øver man en svær takt på klaveret?"),
        _ask("for-children", GOVEJLE, about, LOW, format=FOR_CHILDREN, temperature=0),
    ]


def _echoes() -> list[Planned]:
    return [
        _echo("long-1", ETYDE, HIGH, LONG_MS),
        _echo("long-2", GOVEJLE, HIGH, LONG_MS),
        _echo("long-3", ETYDE, HIGH, LONG_MS, progress_steps=10),
        *(_echo(f"short-{number}", app, NORMAL, 500) for number, app in _turns(5)),
        *(_echo(f"unhurried-{number}", app, LOW, 300) for number, app in _turns(4)),
    ]


def _failures(pages: str) -> list[Planned]:
    """Some that need another attempt, and some that are to become dead letters."""
    gone = msgspec.structs.replace(_page("page-gone", f"{pages}/nedlagt"), ends=State.DEAD)
    return [
        _echo("fails-once", ETYDE, NORMAL, 100, fail="transient", fail_attempts=1),
        _echo("fails-twice", GOVEJLE, NORMAL, 100, fail="transient", fail_attempts=2),
        _echo("raises-once", GOVEJLE, NORMAL, 100, fail="raise", fail_attempts=1),
        _echo("exits-once", ETYDE, LOW, 100, fail="exit", fail_attempts=1),
        _dead(_echo("refuses", ETYDE, NORMAL, 100, fail="permanent")),
        _dead(_echo("hangs", GOVEJLE, LOW, 0, fail="hang"), attempts_max=1, timeout_s=1.0),
        gone,
    ]


def _turns(count: int) -> list[tuple[int, str]]:
    return [(number + 1, APPS[number % len(APPS)]) for number in range(count)]


def _page(name: str, url: str, priority: Priority = NORMAL) -> Planned:
    payload = {"event_id": f"gv-{name}", "url": url}
    return Planned(name, GOVEJLE, "govejle-page", payload, priority)


def _ask(
    name: str, app: str, prompt: str, priority: Priority = NORMAL, **payload: object
) -> Planned:
    given = {"prompt": prompt, "max_tokens": 120, **payload}
    return Planned(name, app, "ask", given, priority, timeout_s=300.0)


def _echo(name: str, app: str, priority: Priority, delay_ms: int, **payload: object) -> Planned:
    given = {"message": f"{name}: grød på ø", "delay_ms": delay_ms, **payload}
    return Planned(name, app, "echo", given, priority)


def _dead(planned: Planned, attempts_max: int = 4, timeout_s: float = 60.0) -> Planned:
    return msgspec.structs.replace(
        planned, ends=State.DEAD, attempts_max=attempts_max, timeout_s=timeout_s
    )
