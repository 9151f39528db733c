"""Why a job waits: from facts to sentences, without a clock and without a Redis."""

from typing import Any

import msgspec
import pytest

from gateway.explain import Spooled, count, estimated_start_ms, explain, span
from streams.circumstances import Blocked, Circumstances, Hands, InLine, Pace, RateUse, Room
from streams.model import Fault, Job, Lane, Priority, Rate, ResourceClass, State

NOW = 1_764_000_000_000
ASK = Lane(ResourceClass.OLLAMA, "etyde", Priority.NORMAL, "ask", "qwen3:8b")
ECHO = Lane(ResourceClass.IO, "etyde", Priority.NORMAL, "echo")
FREE = Room(
    paused=False,
    leases={"io": 0},
    limits={"io": None},
    app_running=0,
    app_limit=None,
    class_rate=None,
    app_rate=None,
)
HANDS = Hands(workers=2, able=2, with_model=2, slots=20, running=3)
LINE = InLine(ahead=11, lanes_ahead=0, others_ahead=0, pace=Pace(0, 0))


def a_job(state: State = State.WAITING, lane: Lane = ECHO, **fields: Any) -> Job:
    given: dict[str, Any] = {
        "submitted_ms": NOW - 60_000,
        "attempt": 0,
        "failures": 0,
        "crashes": 0,
        "attempts_max": 3,
        "timeout_ms": 60_000,
        **fields,
    }
    return Job(id="0-a", lane=lane, state=state, **given)


def room(**fields: Any) -> Room:
    return msgspec.structs.replace(FREE, **fields)


def hands(**fields: Any) -> Hands:
    return msgspec.structs.replace(HANDS, **fields)


def told(job: Job, spool: Spooled | None = None, **facts: Any) -> dict[str, str]:
    explained = explain(job, Circumstances(NOW, **facts), spool)
    return {reason.code: reason.text for reason in explained.reasons}


WAITING = [
    ({"room": room(paused=True)}, "class_paused", "Class io is paused."),
    (
        {"hands": hands(workers=0, able=0, with_model=0)},
        "no_worker",
        "No live worker of class io has the processor echo: no worker lives.",
    ),
    (
        {"hands": hands(workers=3, able=0, with_model=0)},
        "no_worker",
        "No live worker of class io has the processor echo: 3 workers live.",
    ),
    (
        {"hands": hands(slots=20, running=20)},
        "slots_full",
        "2 workers could run it, with 20 slots, all in use.",
    ),
    (
        {"room": room(leases={"io": 4}, limits={"io": 4})},
        "pool_full",
        "As many run as may at once: io 4 of 4.",
    ),
    (
        {"room": room(app_running=2, app_limit=2)},
        "app_at_limit",
        "App etyde runs 2 jobs in class io, and may run 2 at once.",
    ),
    (
        {"room": room(class_rate=RateUse(Rate(60, 60_000, 1), 0, 700))},
        "class_rate",
        "The rate of class io is used up (60 in 60 s): the next may start in 0.7 s.",
    ),
    (
        {"room": room(app_rate=RateUse(Rate(0, 1_000, 1), 0, -1))},
        "app_rate",
        "The rate of app etyde in class io is 0 in 1.0 s: none may start.",
    ),
    (
        {"line": LINE},
        "behind",
        "11 jobs are before it in its lane (etyde, normal, echo).",
    ),
    (
        {"line": InLine(1_000, 0, 0, Pace(0, 0))},
        "behind",
        "At least 1,000 jobs are before it in its lane (etyde, normal, echo).",
    ),
    (
        {"line": InLine(0, 0, 0, Pace(0, 0))},
        "next_in_lane",
        "It is the next of its lane (etyde, normal, echo).",
    ),
    (
        {"line": InLine(0, 1, 1, Pace(0, 0))},
        "others_ahead",
        "1 other lane of the class is more urgent, with 1 job in them at most.",
    ),
    (
        {"line": InLine(0, 0, 0, Pace(12, 90_000))},
        "pace",
        "12 jobs of its lane started in the last 90 s.",
    ),
]


@pytest.mark.parametrize(("facts", "code", "text"), WAITING, ids=[row[1] for row in WAITING])
def test_each_fact_has_its_sentence(facts: dict[str, Any], code: str, text: str) -> None:
    assert told(a_job(), **facts)[code] == text


def test_what_is_no_obstacle_is_not_told() -> None:
    free = room(
        leases={"io": 3},
        limits={"io": 4},
        app_running=1,
        app_limit=2,
        class_rate=RateUse(Rate(60), 3, 0),
    )
    assert set(told(a_job(), room=free, hands=HANDS, line=LINE)) == {"behind"}


def test_a_model_that_no_host_has() -> None:
    assert told(a_job(lane=ASK), hands=hands(able=1, with_model=0)) == {
        "no_model": "1 worker could run it, and none of their hosts has the model qwen3:8b."
    }


def test_one_of_two_pools_is_enough() -> None:
    both = {"ollama@a": 1, "ollama@b": 0}
    limits = dict.fromkeys(both, 1)
    assert told(a_job(lane=ASK), room=room(leases=both, limits=limits)) == {}


OTHERS = [
    (
        a_job(State.DELAYED, due_ms=NOW + 600_000),
        {},
        "It was asked to start later; it is due in 10 min.",
    ),
    (
        a_job(State.DELAYED, due_ms=NOW - 5),
        {},
        "It was asked to start later; it is due any moment.",
    ),
    (
        a_job(
            State.DELAYED,
            due_ms=NOW + 4_000,
            attempt=2,
            failures=1,
            fault=Fault("boom", "it broke"),
        ),
        {},
        "Attempt 2 ended with boom (it broke); 1 of 3 have failed. The next is due in 4.0 s.",
    ),
    (
        a_job(State.BLOCKED, flow="0-f", stage="translate"),
        {"blocked": Blocked(("fetch", "extract"))},
        "Stage translate of flow 0-f waits for 2 stages: fetch, extract.",
    ),
    (
        a_job(State.BLOCKED),
        {"blocked": Blocked((), 3, 1_200)},
        "It is a flow: 3 stages with 1,200 jobs have not ended.",
    ),
    (
        a_job(State.ACTIVE, attempt=1, started_ms=NOW - 90_000, worker="mac-1", progress=0.5),
        {"lease_ms": 20_000},
        "Attempt 1 has run for 90 s on mac-1, 50% done.",
    ),
    (
        a_job(State.ACTIVE, attempt=1, worker="mac-1", crashes=1),
        {"lease_ms": -7_000},
        "Worker mac-1 has not renewed its lease for 7.0 s: another may take the job. "
        "1 of its attempts were lost so before.",
    ),
    (
        a_job(State.DEAD, attempt=3, fault=Fault("boom", "it broke")),
        {},
        "It ended dead after 3 attempts with boom: it broke.",
    ),
    (a_job(State.SUCCEEDED, attempt=1), {}, "It ended succeeded after 1 attempt."),
]


@pytest.mark.parametrize(
    ("job", "facts", "text"), OTHERS, ids=[str(row[0].state) for row in OTHERS]
)
def test_every_state_has_its_sentence(job: Job, facts: dict[str, Any], text: str) -> None:
    assert next(iter(told(job, **facts).values())) == text


@pytest.mark.parametrize("state", State)
def test_no_state_is_without_a_word(state: State) -> None:
    facts: dict[str, Any] = {"line": LINE} if state is State.WAITING else {}
    if state is State.BLOCKED:
        facts["blocked"] = Blocked()
    assert told(a_job(state), **facts)


def test_a_spooled_job() -> None:
    said = told(a_job(State.SPOOLED), Spooled(17, away=True))["spooled"]
    assert said == (
        "Only this gateway's journal has it, with 17 spooled in all: Redis takes no jobs now."
    )


def test_the_start_is_reckoned_from_the_lanes_own_pace() -> None:
    line = InLine(9, 0, 0, Pace(20, 100_000))
    facts = Circumstances(NOW, FREE, HANDS, line)
    assert estimated_start_ms(facts, a_job()) == NOW + 50_000
    explained = explain(a_job(), facts)
    assert (explained.position, explained.position_at_least) == (10, False)
    assert explained.estimated_start_at is not None


@pytest.mark.parametrize(
    "facts",
    [
        Circumstances(NOW, FREE, HANDS, InLine(9, 0, 0, Pace(2, 100_000))),
        Circumstances(NOW, FREE, HANDS, InLine(1_000, 0, 0, Pace(20, 100_000))),
        Circumstances(NOW, room(paused=True), HANDS, InLine(9, 0, 0, Pace(20, 100_000))),
        Circumstances(NOW, FREE, hands(able=0), InLine(9, 0, 0, Pace(20, 100_000))),
        Circumstances(NOW, FREE, HANDS, None),
    ],
)
def test_what_is_not_known_is_not_reckoned(facts: Circumstances) -> None:
    assert estimated_start_ms(facts, a_job()) is None


@pytest.mark.parametrize(
    ("ms", "said"),
    [(-5, "0.0 s"), (400, "0.4 s"), (12_000, "12 s"), (180_000, "3 min"), (9_000_000, "2 h")],
)
def test_spans(ms: int, said: str) -> None:
    assert span(ms) == said


def test_counts() -> None:
    assert [count(n, "job") for n in (0, 1, 2_000)] == ["0 jobs", "1 job", "2,000 jobs"]
