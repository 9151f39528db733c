"""Every processor and flow that ships runs on a sample, its model simulated, by the real client."""

import msgspec
import pytest

from ops.rehearsal.cast import find_cast
from ops.rehearsal.play import Terms, rehearse
from ops.rehearsal.samples import samples_of
from ops.settings import load
from tests.processors.shipped import SAMPLES, Silent

NAMES = sorted(folder.name for folder in SAMPLES.iterdir())


@pytest.mark.parametrize("name", NAMES)
async def test_it_runs_on_its_first_sample(name):
    cast = find_cast(name)
    (sample,) = samples_of(cast)
    audience = Silent()
    ended = await rehearse(
        cast,
        sample.payload,
        load(environ={}),
        audience,
        Terms(simulated=True),
        answers=sample.answers,
    )
    assert ended.fault is None, (ended.fault, audience.told)
    if cast.flow is None:
        msgspec.convert(ended.result, cast.processors[0].output_type)
