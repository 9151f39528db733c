"""Events added up: what was reclaimed, handed back, tried again, and how long it took."""

import msgspec

from ops.demo.history import History, percentile
from streams.events import Event
from streams.model import Lane, Priority, ResourceClass, State

LANE = Lane(ResourceClass.CPU, "etyde", Priority.NORMAL, "echo")


def history(*told: tuple[str, State, int, int]) -> History:
    """The history of one job: (kind, state, attempt, at_ms)."""
    found = History()
    for kind, state, attempt, at_ms in told:
        found.add(Event(f"{at_ms}-0-0", kind, "job-1", LANE, state, attempt, at_ms, {}))
    return found


def test_an_attempt_that_follows_an_active_one_was_reclaimed() -> None:
    found = history(
        ("submitted", State.WAITING, 0, 1_000),
        ("active", State.ACTIVE, 1, 1_100),
        ("active", State.ACTIVE, 2, 4_100),
        ("ended", State.SUCCEEDED, 2, 4_600),
    )
    assert (found.reclaimed, found.handed_back, found.retries) == (1, 0, 0)
    assert (found.waits_ms, found.runs_ms) == ([100], [500])
    assert found.ended() == 1


def test_an_attempt_that_follows_a_hand_back_was_not_reclaimed() -> None:
    found = history(
        ("active", State.ACTIVE, 1, 1_000),
        ("handed_back", State.ACTIVE, 1, 1_500),
        ("active", State.ACTIVE, 2, 1_600),
    )
    assert (found.reclaimed, found.handed_back) == (0, 1)


def test_an_attempt_that_follows_a_retry_was_not_reclaimed() -> None:
    found = history(
        ("active", State.ACTIVE, 1, 1_000),
        ("retrying", State.DELAYED, 1, 1_500),
        ("active", State.ACTIVE, 2, 2_000),
        ("ended", State.DEAD, 2, 2_100),
    )
    assert (found.reclaimed, found.retries, found.runs_ms) == (0, 1, [500, 100])


def test_endings_are_counted_and_not_just_noted() -> None:
    found = history(("ended", State.SUCCEEDED, 1, 1), ("ended", State.SUCCEEDED, 1, 2))
    assert found.courses["job-1"].ends == 2


def test_full_work_is_when_every_class_with_jobs_left_runs_one() -> None:
    found = history(("active", State.ACTIVE, 1, 1_000))
    assert found.is_at_full_work(1_000)
    assert not found.is_at_full_work(999)
    ask = msgspec.structs.replace(LANE, resource_class=ResourceClass.OLLAMA)
    found.add(Event("2-0-0", "submitted", "job-2", ask, State.WAITING, 0, 1_001, {}))
    assert not found.is_at_full_work(2_000)
    found.add(Event("3-0-0", "active", "job-2", ask, State.ACTIVE, 1, 1_002, {}))
    assert found.is_at_full_work(2_000)
    found.add(Event("4-0-0", "ended", "job-2", ask, State.SUCCEEDED, 1, 1_003, {}))
    assert found.is_at_full_work(2_000)


def test_nothing_is_at_work_when_nothing_runs() -> None:
    assert not history().is_at_full_work(2_000)
    assert not history(("ended", State.SUCCEEDED, 1, 1)).is_at_full_work(2_000)


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7], 0.99) == 7
    assert percentile([], 0.5) == 0
