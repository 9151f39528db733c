"""A job's limits as its record has them: the usual ones take no room in it."""

from typing import Any

import msgspec
import pytest

from processors.sdk import Manifest, ResourceClass
from streams.limits import USUAL_LIMITS, limits_text, parse_limits
from streams.model import NewJob
from tests.support.build import new_job

USUAL = (3, 60_000, 1_000, 300_000, False)


def limits_of(job: NewJob) -> tuple[int, int, int, int, bool]:
    return (job.attempts_max, job.timeout_ms, job.backoff_ms, job.backoff_max_ms, job.fresh)


def test_the_usual_limits_are_said_by_nothing() -> None:
    job = new_job()
    assert limits_of(job) == USUAL
    assert limits_text(job) == ""
    assert parse_limits("") == parse_limits(USUAL_LIMITS) == USUAL


def test_they_are_those_of_a_manifest_that_says_nothing() -> None:
    said = Manifest(name="x", version="1", summary="X.", resource_class=ResourceClass.IO)
    backoff_s = (said.backoff_s, said.backoff_max_s)
    assert (said.attempts_max, said.timeout_s * 1_000) == USUAL[:2]
    assert tuple(1_000 * each for each in backoff_s) == USUAL[2:4]


@pytest.mark.parametrize(
    "unusual",
    [
        {"attempts_max": 4},
        {"timeout_ms": 1},
        {"backoff_ms": 0},
        {"backoff_max_ms": 9},
        {"fresh": True},
    ],
)
def test_any_other_limit_is_said_and_read_again(unusual: dict[str, Any]) -> None:
    job = msgspec.structs.replace(new_job(), **unusual)
    assert limits_text(job)
    assert parse_limits(limits_text(job)) == limits_of(job) != USUAL
