"""GET /v1/overview: figures, causes, and what a key of one app sees of it."""

import pytest

from gateway.swaps import Demand, Swap, next_swap
from streams.clock import SystemClock
from streams.directory import WorkerCard
from streams.windows import Recent
from tests.http.edge import Edge


def worker(**fields: object) -> WorkerCard:
    given: dict[str, object] = {
        "id": "mac-1-a",
        "host": "mac",
        "pid": 1,
        "version": "1",
        "pools": {"io": "io"},
        "slots": {"io": 4},
        "running": {"io": 0},
        "processors": ("echo",),
        **fields,
    }
    return WorkerCard(**given)  # type: ignore[arg-type]


async def test_an_overview_has_the_lanes_that_the_key_may_see(edge: Edge) -> None:
    await edge.submit()
    await edge.submit(key="other")
    await edge.submit()
    await edge.die()
    own = (await edge.get("/v1/overview")).json()
    every = (await edge.get("/v1/overview?events=10", key="operator")).json()
    lanes = {one["name"]: one["lanes"] for one in own["classes"]}
    assert [(lane["app"], lane["dead"]) for lane in lanes["io"]] == [("etyde", 1)]
    io = next(one for one in every["classes"] if one["name"] == "io")
    assert {lane["app"] for lane in io["lanes"]} == {"etyde", "govejle"}
    assert (io["waiting"], io["dead"], every["dead_letters"]) == (2, 1, 1)
    assert every["jobs"]["submitted"] == 3
    assert every["events"][-1]["kind"] == "ended"
    assert own["events"] == []
    seen = (await edge.get("/v1/overview?events=200")).json()["events"]
    assert {event["app"] for event in seen} == {"etyde"}


async def test_an_overview_tells_operators_what_fails_just_now(edge: Edge) -> None:
    failures = {"echo": {"timed_out": 2}, "ask": {"ollama_away": 9}}
    now_ms = SystemClock().now_ms()
    await edge.parts.windows.publish(Recent("w", now_ms, {}, failures))
    every = (await edge.get("/v1/overview", key="operator")).json()
    assert [(one["processor"], one["error"], one["attempts"]) for one in every["failing"]] == [
        ("ask", "ollama_away", 9),
        ("echo", "timed_out", 2),
    ]
    assert (await edge.get("/v1/overview")).json()["failing"] == []


async def test_an_overview_names_the_cause(edge: Edge) -> None:
    await edge.submit()

    async def causes() -> list[str]:
        view = (await edge.get("/v1/overview")).json()
        (lane,) = next(one for one in view["classes"] if one["name"] == "io")["lanes"]
        return [reason["code"] for reason in lane["reasons"]]

    assert "no_worker" in await causes()
    await edge.parts.directory.announce_worker(worker())
    assert "no_worker" not in await causes()
    await edge.post("/v1/classes/io:pause", key="operator")
    assert (await causes())[0] == "class_paused"
    await edge.post("/v1/classes/io:resume", key="operator")
    await edge.broker.set_limit("io", 0)
    assert (await causes())[0] == "pool_full"
    limited = (await edge.get("/v1/overview")).json()
    assert next(one["limit"] for one in limited["classes"] if one["name"] == "io") == 0


async def test_ollama_hosts_tell_their_models_and_the_next(edge: Edge) -> None:
    card = worker(
        pools={"ollama": "ollama@mac"},
        slots={"ollama": 1},
        running={},
        models=("llama", "qwen"),
        resident="llama",
    )
    await edge.parts.directory.announce_worker(card)
    (host,) = (await edge.get("/v1/overview")).json()["hosts"]
    assert (host["pool"], host["resident"], host["next"]) == ("ollama@mac", "llama", None)
    assert host["models"] == ["llama", "qwen"]


async def test_the_number_of_events_has_bounds(edge: Edge) -> None:
    assert (await edge.get("/v1/overview?events=201")).status_code == 422
    assert (await edge.get("/v1/overview?events=x")).status_code == 422


LLAMA = Demand(waiting=10, score=0.1, rises_per_s=0.001, out_per_s=0.5)


@pytest.mark.parametrize(
    ("wanted", "swap"),
    [
        ({}, None),
        ({"llama": LLAMA}, None),
        ({"other": LLAMA}, None),  # this host does not have it
        ({"qwen": LLAMA}, Swap("qwen", 0.0)),  # nothing waits for the resident one
        # its ten jobs are through in 20 s, before the other has aged enough
        ({"llama": LLAMA, "qwen": Demand(1, 0.0, 0.001, 0.0)}, Swap("qwen", 20.0)),
        # the other is urgent: it needs 0.6 more, and gains 1/120 a second
        (
            {
                "llama": Demand(1_000, 0.1, 0.001, 0.5),
                "qwen": Demand(1, 0.0, 1 / 120, 0.0),
            },
            Swap("qwen", pytest.approx(72.0)),
        ),
        ({"llama": LLAMA, "qwen": Demand(1, 0.7, 0.001, 0.0)}, Swap("qwen", 0.0)),
        # nothing goes, and both age alike: nothing leads to a swap
        (
            {"llama": Demand(1, 0.1, 0.001, 0.0), "qwen": Demand(1, 0.0, 0.001, 0.0)},
            Swap("qwen", None),
        ),
    ],
)
def test_the_next_swap_follows_the_dispatch_rule(
    wanted: dict[str, Demand], swap: Swap | None
) -> None:
    assert next_swap("llama", wanted, ("llama", "qwen")) == swap
