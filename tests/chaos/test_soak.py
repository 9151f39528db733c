"""A minute of the soak, with several seeds."""

from pathlib import Path

import pytest

from ops.redis_binary import RedisBinary
from tests.chaos.driver import Course, drive
from tests.chaos.plan import Blow, drawn

JOBS = 120
ONCE = {
    Blow.KILL_WORKER: 2,
    Blow.PAUSE_WORKER: 1,
    Blow.CUT: 2,
    Blow.KILL_REDIS: 1,
}
MORE = {Blow.KILL_GATEWAY: 1, Blow.LOSE_TAIL: 1, Blow.FILL_REDIS: 1, Blow.KILL_WORKER: 1}


@pytest.mark.parametrize(("seed", "blows"), [(1, ONCE), (2, ONCE), (3, MORE)])
async def test_nothing_is_lost_doubled_or_unexplained(
    redis_binary: RedisBinary,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    blows: dict[Blow, int],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # journals of this run alone
    course = Course(JOBS, drawn(seed, JOBS, blows), tmp_path, job_ms=600)
    async with drive(redis_binary, course) as running:
        findings = await running.run()
    wrong = [findings.lost, findings.doubled, findings.untrue, findings.redone]
    assert [*wrong, findings.unexplained] == [[]] * 5
    assert len(running.hits) >= len(course.plan) - blows.get(Blow.KILL_GATEWAY, 0)
    assert findings.runs >= len(running.accepted)
