"""A simulated Ollama on a loopback port, and attempts that ask it."""

from collections.abc import Iterator

import pytest

from ops.sim_ollama import SimConfig
from tests.ollama.simulated import Sim, Simulated, small_models


@pytest.fixture
def simulated() -> Iterator[Simulated]:
    """Starts simulators; stops them at the end of the test."""
    with Simulated() as simulated:
        yield simulated


@pytest.fixture
def sim(simulated: Simulated) -> Sim:
    """A fast simulator with three small models."""
    return simulated.start(SimConfig(models=small_models(), speed=50, load_spread=0))
