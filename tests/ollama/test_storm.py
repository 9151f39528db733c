"""A small storm: no job is lost to an ill Ollama or a killed worker, never two requests on a host.

The large one, with every fault of the simulator: `python -m tests.ollama.storm`.
"""

from pathlib import Path

from ops.redis_binary import RedisBinary
from ops.sim_ollama.faults import Kind
from tests.ollama.storm import FAULTS, QUICK, storm


async def test_no_job_is_lost_and_no_host_sees_two_requests_at_once(
    tmp_path: Path, redis_binary: RedisBinary
) -> None:
    outcome = await storm(tmp_path, redis_binary, jobs=44, faults=QUICK, seed=3)
    assert list(outcome.wrong()) == []
    assert (len(outcome.jobs), outcome.kills, outcome.pauses) == (44, 1, 1)
    assert outcome.concurrency == {"mac": 1, "box": 1}


def test_the_large_storm_has_every_fault() -> None:
    assert {fault["kind"] for fault in FAULTS} == set(Kind)
