"""Models over HTTP: two hosts, each with its own; what waits for a model that nobody has."""

import msgspec

from streams.directory import HostCard, ModelCard, WorkerCard
from streams.learned import LearnedTimes, load_field
from tests.http.edge import CLOCK, Edge
from tests.support.build import Hand, new_job

GEN = ModelCard("gen", "qwen3:32b", "sha-gen", 20_000_000_000, 8_192)
SMALL = ModelCard("classify", "llama3.1:8b", "sha-small", 5_000_000_000, 8_192)
MAC = HostCard("mac", "0.33.0", models=(GEN, SMALL), resting=("gen",))
BOX = HostCard("box", trouble="refuses connections", models=(GEN,))


def worker(name: str, host: HostCard, **fields: object) -> WorkerCard:
    pools, slots = {"ollama": f"ollama@{host.name}"}, {"ollama": 1}
    card = WorkerCard(name, "here", 1, "1", pools, slots, {}, ("ask",), seen_ms=CLOCK.now_ms())
    return msgspec.structs.replace(card, ollama=host, **fields)


async def announce(edge: Edge) -> None:
    directory = edge.parts.directory
    await directory.announce_worker(worker("mac-1", MAC, models=("classify",), resident="classify"))
    await directory.announce_worker(worker("mac-2", MAC, models=("classify",), resident="classify"))
    await directory.announce_worker(worker("box-1", BOX))


async def test_hosts_and_models_are_shown_with_what_waits(edge: Edge) -> None:
    await announce(edge)
    await LearnedTimes(edge.parts.broker.scripts).add({load_field("gen"): [40_000.0]})
    jobs = [new_job(resource_class="ollama", processor="ask", model=m) for m in ("gen", "absent")]
    await edge.parts.broker.submit(jobs)
    found = (await edge.get("/v1/models")).json()
    assert [(host["name"], host["workers"], host["resident"]) for host in found["hosts"]] == [
        ("box", 1, ""),
        ("mac", 2, "classify"),
    ]
    assert found["hosts"][0]["trouble"] == "refuses connections"
    shown = {model["alias"]: model for model in found["hosts"][1]["models"]}
    assert (shown["classify"]["resident"], shown["gen"]["resting"]) == (True, True)
    models = {model["alias"]: model for model in found["models"]}
    assert (models["gen"]["waiting"], models["gen"]["hosts"], models["gen"]["load_s"]) == (
        1,
        [],
        40,
    )
    assert (models["absent"]["waiting"], models["absent"]["hosts"]) == (1, [])
    assert models["classify"]["resident_on"] == ["mac"]
    assert models["classify"]["hosts"] == ["mac"]


async def test_a_lane_that_no_host_serves_is_explained(edge: Edge) -> None:
    await announce(edge)
    jobs = [new_job(resource_class="ollama", processor="ask", model=m) for m in ("gen", "absent")]
    await edge.parts.broker.submit(jobs)

    async def reason(index: int) -> dict[str, object]:
        told = (await edge.get(f"/v1/jobs/{jobs[index].id}/explain")).json()
        first: dict[str, object] = told["reasons"][0]
        return first

    assert await reason(0) == {
        "code": "host_away",
        "stops": True,
        "text": "No Ollama host can be asked for gen now: box: refuses connections; "
        "mac: gen failed to load several times and is left alone.",
    }
    away = await reason(1)
    assert (away["code"], away["stops"]) == ("host_away", True)  # a host that is away may have it


async def test_two_hosts_two_slots_never_two_on_one(edge: Edge) -> None:
    """A pool for each host, whatever its workers offer; each takes what its host has."""
    broker = edge.parts.broker
    made = {"resource_class": "ollama", "processor": "ask"}
    await broker.submit([new_job(**made, model="gen") for _ in range(3)])
    await broker.submit([new_job(**made, model="small") for _ in range(3)])
    mac = [Hand(broker, f"mac{n}", "ollama", pool="ollama@mac", models=["gen"]) for n in (1, 2)]
    box = [Hand(broker, f"box{n}", "ollama", pool="ollama@box", models=["small"]) for n in (1, 2)]
    taken = [await hand.take(4) for hand in (*mac, *box)]
    assert [[lease.lane.model for lease in leases] for leases in taken] == [
        ["gen"],
        [],
        ["small"],
        [],
    ]
