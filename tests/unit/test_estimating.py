"""When a waiting job starts, played ahead by the rule and learned times."""

import pytest

from streams.estimating import STEPS_MAX, Outlook, Queued, Server, start_in_ms
from streams.learned import Learned, Mean, load_field, run_field
from tests.support.build import lane

GEN = lane("ollama", "etyde", "normal", "ask", "gen")
SMALL = lane("ollama", "etyde", "normal", "ask", "small")
URGENT = lane("ollama", "etyde", "high", "ask", "small")
IO = lane("io", "etyde", "normal", "echo")
RUN_S, LOAD_S = 10, 40
TIMES = Learned(
    {
        run_field(GEN): Mean(9, RUN_S * 1_000, 0),
        run_field(SMALL): Mean(9, RUN_S * 1_000, 0),
        run_field(IO): Mean(9, 2_000, 0),
        load_field("gen"): Mean(2, LOAD_S * 1_000, 0),
        load_field("small"): Mean(2, 5_000, 0),
    }
)


def host(name: str = "mac", running: int = 0, **fields: object) -> Server:
    given = {"models": frozenset(["gen", "small"]), "resident": "gen", **fields}
    return Server(f"ollama@{name}", 1, running, frozenset(["ask"]), **given)  # type: ignore[arg-type]


def outlook(*lanes: Queued, servers: tuple[Server, ...] = (host(),), open_ms: int = 0) -> Outlook:
    return Outlook(open_ms, lanes, servers, TIMES)


@pytest.mark.parametrize(
    ("found", "wanted", "ahead", "seconds"),
    [
        (outlook(Queued(GEN, 5, 0, 0)), GEN, 0, 0),
        (outlook(Queued(GEN, 5, 0, 0)), GEN, 4, 40),
        (outlook(Queued(GEN, 5, 0, 0), servers=(host(running=1),)), GEN, 0, 5),  # half of a run
        # The other model waits until all of the resident one's have gone, its own load not counted.
        (outlook(Queued(GEN, 3, 0, 0), Queued(SMALL, 2, 0, 0)), SMALL, 0, 30),
        (outlook(Queued(GEN, 3, 0, 0), Queued(SMALL, 2, 0, 0)), SMALL, 1, 45),
        # An urgent one overtakes when it is half of its target (60 s) ahead.
        (outlook(Queued(GEN, 99, 0, 0), Queued(URGENT, 1, 0, 0)), URGENT, 0, 70),
        # Two hosts: each does half.
        (outlook(Queued(GEN, 6, 0, 0), servers=(host(), host("vps"))), GEN, 5, 20),
        # What only one host has, only that one does.
        (
            outlook(
                Queued(GEN, 4, 0, 0), servers=(host(), host("vps", models=frozenset(["small"])))
            ),
            GEN,
            3,
            30,
        ),
    ],
)
def test_a_start_is_that_of_the_rule_played_ahead(
    found: Outlook, wanted: object, ahead: int, seconds: int
) -> None:
    assert start_in_ms(found, wanted, ahead) == seconds * 1_000  # type: ignore[arg-type]


def test_apps_take_turns_and_many_slots_serve_at_once() -> None:
    web = lane("io", "web", "normal", "echo")
    server = Server("io", 2, 0, frozenset(["echo"]))
    found = outlook(Queued(IO, 100, 0, 0), Queued(web, 1, 50, 50), servers=(server,))
    assert start_in_ms(found, web, 0) == 0  # the second of two slots
    assert start_in_ms(found, IO, 99) == 100_000  # a web job among them, two at a time


def test_what_nobody_can_tell_is_not_told() -> None:
    found = outlook(Queued(GEN, 3, 0, 0))
    assert start_in_ms(found, lane("ollama", "etyde", "normal", "ask", "absent"), 0) is None
    assert start_in_ms(outlook(Queued(GEN, 3, 0, 0), servers=()), GEN, 0) is None
    deep = outlook(Queued(GEN, 10 * STEPS_MAX, 0, 0))
    assert start_in_ms(deep, GEN, STEPS_MAX) is None
    unlearned = Outlook(0, (Queued(GEN, 3, 0, 0),), (host(),), Learned())
    assert start_in_ms(unlearned, GEN, 0) is None


def test_a_processor_that_never_ran_takes_as_long_as_the_others() -> None:
    new = lane("ollama", "etyde", "normal", "etyde-set", "gen")
    slow = Learned({**TIMES.means, run_field(SMALL): Mean(9, 99_000, 0)})
    assert slow.run_ms(new) == RUN_S * 1_000  # as the others on its model
    assert slow.run_ms(lane("ollama", "etyde", "normal", "ask", "absent")) == 54_500
    assert TIMES.load_ms("huge") == (LOAD_S + 5) * 500
    assert Learned().load_ms("huge") == 0
