"""`roughneck agents`: who watches, and each line once."""

import msgspec

from streams.directory import AgentCard, AgentTelling, WorkerCard
from tests.ops.test_cli import Cli, cli, on

__all__ = ["cli"]  # a fixture

SPIKE = AgentTelling(1_700_000_000_000, "warning", "a spike of errors", {"app": "shop"})
OLDER = AgentTelling(1_600_000_000_000, "info", "errors are as usual again", {"app": "shop"})


def card(name: str, *told: AgentTelling) -> WorkerCard:
    return WorkerCard(
        id=name,
        host="h",
        pid=1,
        version="0",
        pools={},
        slots={},
        running={},
        processors=(),
        agents=(AgentCard("error-spikes", "Tells.", 12, 1, SPIKE.at_ms, told),),
    )


def test_nobody_watches(cli: Cli) -> None:
    ran = cli("agents")
    assert (ran.code, ran.out) == (0, "")
    assert "no agent watches" in ran.err


def test_agents_of_all_workers_are_shown_and_a_line_of_two_once(cli: Cli, redis_url: str) -> None:
    for name, told in (("w1", (OLDER, SPIKE)), ("w2", (SPIKE,))):
        one = card(name, *told)
        on(redis_url, lambda engine, one=one: engine.directory.announce_worker(one))
    ran = cli("agents")
    assert ran.code == 0
    assert [line.split()[:3] for line in ran.out.splitlines()[1:3]] == [
        ["error-spikes", "w1", "12"],
        ["error-spikes", "w2", "12"],
    ]
    assert ran.out.count("a spike of errors") == 1
    assert ran.out.index("a spike of errors") < ran.out.index("as usual again")
    found = cli("agents", "-o", "json").json
    assert [one["worker"] for one in found] == ["w1", "w2"]
    assert msgspec.convert(found[0]["agent"]["told"], tuple[AgentTelling, ...]) == (OLDER, SPIKE)
