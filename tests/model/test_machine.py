"""Any order of calls keeps the invariants.

For a long run: `ROUGHNECK_MODEL_EXAMPLES=2000 pytest tests/model`.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from streams.scripts import read_sources
from tests.model.link import Link
from tests.model.machine import Machine

EXAMPLES = int(os.environ.get("ROUGHNECK_MODEL_EXAMPLES", "40"))
STEPS = 30

QUICK = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


def test_any_order_of_calls_keeps_the_invariants(redis_url: str) -> None:
    class OnThisServer(Machine):
        link = Link(redis_url, read_sources())

    run_state_machine_as_test(OnThisServer, settings=QUICK)
    OnThisServer.link.close()
