"""A small storm: nothing is lost, nothing is said twice in different words, nobody holds up others.

The large one: `python -m tests.callbacks.storm`.
"""

from pathlib import Path

from tests.callbacks.storm.pace import pace
from tests.callbacks.storm.storm import TEMPERS, storm


async def test_every_callback_is_delivered_or_dead_with_a_reason(tmp_path: Path) -> None:
    outcome = await storm(tmp_path, 200, 0.5, 7, endpoints=16, kills=1)
    assert outcome.wrong(200) == []
    assert outcome.kills == 1
    assert set(outcome.tempers) == {"healthy", *TEMPERS}
    assert outcome.delivered
    assert any("410 Gone" in reason for reason in outcome.reasons)


async def test_a_dead_and_a_tar_pit_endpoint_delay_no_other(tmp_path: Path) -> None:
    """With a wide margin here, for one short round."""
    measured = await pace(tmp_path, 7, rounds=1, callbacks=120)
    assert measured.ratio < 2.0
