"""Scripts with a fault are found; `python -m tests.model.mutants` tries all of them at length."""

from collections.abc import Iterator

import pytest

from ops.redis_binary import RedisBinary
from tests.model.mutants import MUTANTS, Mutant, hunt
from tests.support.redis_server import RedisServer

SEEDS = range(3)
QUICK = (
    "no fence at settle",
    "the state alone fences",
    "no gate at take",
    "take acknowledges what it leases",
    "acknowledged, not deleted",
    "deleted, not acknowledged",
    "no lease at take",
    "the lease stays after settle",
    "a repeated call leases more",
    "the token of the last owner again",
    "the turn of who was just served",
    "a known id is new",
)


@pytest.fixture(scope="module")
def url(redis_binary: RedisBinary) -> Iterator[str]:
    server = RedisServer(redis_binary)
    yield server.url
    server.stop()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_fault_of_the_table_is_one(mutant: Mutant) -> None:
    assert mutant.sources()[mutant.script] != mutant.old


@pytest.mark.parametrize("name", QUICK)
def test_the_machine_finds_a_fault(url: str, name: str) -> None:
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == name]
    assert hunt(mutant, url, SEEDS, shrink=False).killed
