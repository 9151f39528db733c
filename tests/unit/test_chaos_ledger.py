"""The soak's judgement: it must be able to condemn."""

import pytest

from tests.chaos.ledger import LOST_TAIL, Findings, Hit, judged, parsed
from tests.chaos.plan import Blow, drawn

TOLD = {"state": "succeeded", "result": {"attempt": 1, "pid": 10}}
STORED = {"a": ("succeeded", {"attempt": 1, "pid": 10})}
ONE_RUN = ["a 1 begin 10 1 5.0", "a 1 end 10 1 6.0"]
AGAIN = [*ONE_RUN, "a 2 begin 20 2 8.0", "a 2 end 20 2 9.0"]
KILL = Hit("worker killed", 5.5, 5.5, frozenset((10,)))
NEWER = {"a": ("succeeded", {"attempt": 2, "pid": 20})}


def verdict(lines: list[str], **given: object) -> Findings:
    fields = {"hits": [], "told": {"a": [TOLD]}, "stored": STORED} | given
    return judged(["a"], parsed(lines), **fields)  # type: ignore[arg-type]


def test_a_good_run_is_good() -> None:
    found = verdict(ONE_RUN)
    assert (found.lost, found.doubled, found.unexplained, found.untrue) == ([], [], [], [])


@pytest.mark.parametrize(
    ("field", "lines", "given"),
    [
        ("lost", ONE_RUN, {"stored": {}}),
        ("lost", ONE_RUN, {"told": {}}),
        ("lost", ONE_RUN, {"stored": {"a": ("active", None)}}),
        ("doubled", ONE_RUN, {"told": {"a": [TOLD, TOLD]}}),
        ("untrue", ONE_RUN, {"told": {"a": [{**TOLD, "state": "dead"}]}}),
        ("unexplained", AGAIN, {}),
        ("unexplained", AGAIN, {"hits": [Hit("worker killed", 5.5, 5.5, frozenset((30,)))]}),
        ("unexplained", AGAIN, {"hits": [Hit("worker killed", 4.0, 4.0, frozenset((10,)))]}),
    ],
)
def test_what_is_wrong_is_found(field: str, lines: list[str], given: dict[str, object]) -> None:
    assert len(getattr(verdict(lines, **given), field)) == 1


def test_an_older_attempt_that_wins_over_a_newer_one_is_found() -> None:
    lines = [ONE_RUN[0], "a 2 begin 20 2 5.5", ONE_RUN[1], "a 2 end 20 2 9.0"]
    assert verdict(lines, hits=[KILL]).doubled
    won = {**TOLD, "result": {"attempt": 2, "pid": 20}}
    found = verdict(lines, hits=[KILL], told={"a": [won]}, stored=NEWER)
    assert (found.doubled, found.zombies) == ([], 1)


def test_a_run_after_its_workers_death_is_explained_and_timed() -> None:
    lines = [ONE_RUN[0], "a 2 begin 20 2 8.0", "a 2 end 20 2 9.0"]
    told = {"a": [{**TOLD, "result": {"attempt": 2, "pid": 20}}]}
    found = verdict(lines, hits=[KILL], told=told, stored=NEWER)
    assert (found.unexplained, found.extra, found.recovery_s) == ([], {"worker killed": 1}, [2.5])
    away = Hit("Redis killed", 6.0, 7.0)
    assert verdict(lines, hits=[KILL, away], told=told, stored=NEWER).recovery_s == []


def test_an_older_attempt_that_begins_late_is_explained_by_what_held_up_its_own_worker() -> None:
    lines = ["a 2 begin 20 2 5.0", "a 2 end 20 2 6.0", "a 1 begin 10 1 8.0"]
    told = {"a": [{**TOLD, "result": {"attempt": 2, "pid": 20}}]}

    def stopped(pid: int, until: float = 7.9) -> Findings:
        stop = Hit("worker stopped beyond its lease", 3.0, until, frozenset((pid,)))
        return verdict(lines, hits=[stop], told=told, stored=NEWER)

    assert (stopped(10).unexplained, stopped(10).extra.total(), stopped(10).doubled) == ([], 1, [])
    assert stopped(20).unexplained  # it was the other one that ran
    assert stopped(10, until=4.5).unexplained  # it went on before the newer attempt


def test_a_lease_that_redis_forgot_with_its_tail_does_not_fence() -> None:
    lines = [ONE_RUN[0], "a 2 begin 20 2 5.5", ONE_RUN[1], "a 2 end 20 2 9.0"]
    assert verdict(lines, hits=[KILL, Hit(LOST_TAIL, 5.4, 7.5)]).doubled == []
    assert verdict(lines, hits=[KILL, Hit(LOST_TAIL, 7.4, 9.5)]).doubled


def test_what_was_finished_before_the_tail_that_was_lost_must_not_run_again() -> None:
    later, both = Hit(LOST_TAIL, 7.5, 9.5), Hit(LOST_TAIL, 4.9, 6.9)
    assert verdict(AGAIN, hits=[later], stored=NEWER, told={"a": [TOLD]}).redone
    assert verdict(AGAIN, hits=[both, later], stored=NEWER, told={"a": [TOLD]}).redone == []


def test_a_process_that_runs_the_same_attempt_again_after_a_lost_tail_has_run_twice() -> None:
    tail = Hit(LOST_TAIL, 5.5, 7.0)
    lines = [*ONE_RUN, "a 1 begin 10 1 8.0", "a 2 begin 20 2 9.0", "a 2 end 20 2 9.5"]
    found = verdict(lines, hits=[tail], stored=NEWER)
    assert (found.runs, found.untrue, found.forgotten) == (3, [], 1)


def test_a_run_that_had_been_taken_over_before_its_worker_died_is_no_recovery() -> None:
    lines = [ONE_RUN[0], "a 2 begin 20 2 5.2", "a 2 end 20 2 9.0"]
    assert verdict(lines, hits=[KILL]).recovery_s == []


def test_the_same_seed_is_the_same_plan() -> None:
    counts = {Blow.KILL_WORKER: 5, Blow.CUT: 5}
    assert drawn(7, 1_000, counts) == drawn(7, 1_000, counts) != drawn(8, 1_000, counts)
    assert [fault.after for fault in drawn(7, 1_000, counts)] == sorted(
        fault.after for fault in drawn(7, 1_000, counts)
    )
