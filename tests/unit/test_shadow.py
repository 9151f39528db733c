"""Shadows: which jobs have one, what it is, and what a report makes of pairs."""

from typing import Any

import msgspec
import pytest

from gateway.schemas import PayloadSchemas
from gateway.shadows import LIFE_MS, is_picked, shadow_of, shadowed
from gateway.wire import ShadowTarget
from ops.shadow import Pair, differences, report
from streams.ids import new_job_id
from streams.model import Job, NewJob, Priority, State
from tests.http.edge import card
from tests.support.build import lane, new_job

CARDS = {"echo-next": card("echo-next", attempts_max=1)}
TARGET = ShadowTarget("echo-next")


def test_a_shadow_is_a_job_of_low_priority_in_an_app_of_its_own() -> None:
    job = new_job(b'{"text":"a"}', app="etyde", tags=("t",), delay_ms=500)
    made = shadow_of(TARGET, job, CARDS, PayloadSchemas(), 1_000)
    assert isinstance(made, NewJob)
    place = made.lane
    assert (place.app, place.priority, place.processor) == (
        "shadow.etyde",
        Priority.LOW,
        "echo-next",
    )
    assert (made.payload, made.callback, made.unique) == (job.payload, None, None)
    assert (made.delay_ms, made.attempts_max) == (500, 1)
    assert made.expires_at_ms == 1_500 + LIFE_MS
    assert shadowed(made.tags) == job.id
    assert made.tags[1:] == ("t",)
    assert shadow_of(TARGET, job, CARDS, PayloadSchemas(), 2_000).id == made.id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("payload", "target", "why"),
    [
        (b'{"text":"a"}', ShadowTarget("none"), "published"),
        (b'{"text":1}', TARGET, "none for echo-next"),
        (b'{"text":"a","pages":[{"$blob":"x"}]}', TARGET, "blob"),
    ],
)
def test_where_there_can_be_no_shadow_it_says_why(
    payload: bytes, target: ShadowTarget, why: str
) -> None:
    made = shadow_of(target, new_job(payload), CARDS, PayloadSchemas(), 1)
    assert isinstance(made, str)
    assert why in made


def test_a_share_of_jobs_is_always_the_same() -> None:
    ids = [new_job_id(1_700_000_000_000 + n) for n in range(2_000)]
    tenth = {one for one in ids if is_picked(one, 0.1)}
    assert 120 < len(tenth) < 280
    assert tenth <= {one for one in ids if is_picked(one, 0.5)}
    assert all(is_picked(one, 1.0) for one in ids)


@pytest.mark.parametrize(
    ("one", "other", "places"),
    [
        ({"a": 1, "b": [1, {"c": 2}]}, {"b": [1.0, {"c": 2}], "a": 1}, []),
        ({"a": 1}, {"a": True}, ["$.a"]),
        ({"a": None}, {}, ["$.a"]),
        ([1, 2, 3], [1, 3], ["$[1]", "$[2]"]),
        (
            {"e": [{"t": "x"}, {"t": "y"}]},
            {"e": [{"t": "z"}, {"t": "w"}]},
            ["$.e[0].t", "$.e[1].t"],
        ),
        ("a", {"a": 1}, ["$"]),
    ],
)
def test_differences_are_told_place_by_place(one: Any, other: Any, places: list[str]) -> None:
    assert [each.place for each in differences(one, other)] == places


def job(state: State, took_ms: int = 1_000, **fields: Any) -> Job:
    return Job(
        new_job_id(1), lane(**fields), state, 1, 1, 0, 0, 3, 1, started_ms=1, ended_ms=1 + took_ms
    )


def test_a_report_counts_what_came_of_pairs() -> None:
    done, dead = State.SUCCEEDED, State.DEAD
    pairs = [
        Pair(job(done), job(done, 2_000), {"t": "a", "s": 1}, {"t": "a", "s": 2}),
        Pair(job(done), job(done, 4_000), {"t": ["a"], "s": 1}, {"t": ["b"], "s": 1}),
        Pair(job(done), job(done, 2_000), {"t": "a"}, {"t": "a"}),
        Pair(job(done), job(dead), 1),
        Pair(job(dead), job(done), None, 1),
        Pair(job(dead), job(dead)),
        Pair(job(done), job(State.EXPIRED), 1),
        Pair(None, job(done), None, 1),
        Pair(job(State.ACTIVE), job(done), None, 1),
    ]
    found = report(pairs, ["$.s"])
    assert (found.pairs, found.equal, found.different) == (9, 2, 1)
    assert (found.only_job_succeeded, found.only_shadow_succeeded) == (1, 1)
    assert (found.neither_succeeded, found.not_run) == (1, 3)
    assert (found.seconds, found.shadow_seconds) == (1.0, 2.0)
    assert [(one.path, one.pairs, one.example.shadow) for one in found.paths] == [
        ("$.t[*]", 1, '"b"')
    ]
    assert found.different_share == pytest.approx(0.6)
    assert report(pairs).different == 2
    assert report([]).different_share == 0
    assert msgspec.json.encode(found)
