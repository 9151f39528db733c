"""What Prometheus reads of the engine: counted in Redis, so true whatever restarts."""

from redis.asyncio import Redis

from gateway.engine_metrics import APPS_MAX, AppSnapshot, lag_of
from gateway.fleet_metrics import missing
from streams.directory import WorkerCard
from streams.inspector import LaneView
from streams.model import Again, Done, Fault, HandedBack
from tests.http.edge import Edge
from tests.http.test_health import samples
from tests.support.build import lane, new_job

FAULT = Fault("boom", "text that must be no label")


async def scraped(edge: Edge) -> dict[tuple[str, tuple[str, ...]], float]:
    return samples((await edge.get("/metrics", key="")).text)


async def test_every_attempt_and_end_is_counted_by_processor(edge: Edge) -> None:
    for _ in range(4):
        await edge.submit()
    await edge.settle(await edge.take(), Again(60_000, FAULT))
    await edge.settle(await edge.take(), HandedBack())
    for _ in range(2):
        await edge.settle(await edge.take(), Done(b'{"said":"hi"}'))
    dead = await edge.die()
    assert (await edge.post(f"/v1/jobs/{dead}:retry")).status_code == 202
    found = await scraped(edge)
    echo = ("echo", "io")
    assert found["roughneck_jobs_submitted_total", ("normal", *echo)] == 4
    assert found["roughneck_jobs_replayed_total", echo] == 1
    assert found["roughneck_attempts_started_total", echo] == 5
    assert found["roughneck_attempts_continued_total", ("retried", *echo)] == 1
    assert found["roughneck_attempts_continued_total", ("handed_back", *echo)] == 1
    assert found["roughneck_jobs_ended_total", (*echo, "succeeded")] == 2
    assert found["roughneck_jobs_ended_total", (*echo, "dead")] == 1
    assert found["roughneck_app_jobs_ended_total", ("etyde", "succeeded")] == 2
    assert found["roughneck_app_waiting", ("etyde",)] == 1


async def test_what_no_live_worker_can_take_is_counted(edge: Edge, redis: Redis) -> None:
    await edge.submit()
    found = await scraped(edge)
    assert found["roughneck_lanes_unserved", ("processor", "io")] == 1
    assert found["roughneck_workers", ("working", "io")] == 0
    card = WorkerCard("w", "h", 1, "0", {}, {"io": 10}, {"io": 3}, ("echo",))
    await edge.parts.directory.announce_worker(card)
    found = await scraped(edge)
    assert found["roughneck_lanes_unserved", ("processor", "io")] == 0
    assert found["roughneck_workers", ("working", "io")] == 1
    assert (
        found["roughneck_worker_slots", ("io",)],
        found["roughneck_worker_running", ("io",)],
    ) == (
        10,
        3,
    )


def test_a_lane_lacks_its_processor_or_its_model() -> None:
    asks = LaneView(lane("ollama", processor="ask", model="big"), 1, 0, 0)
    without = WorkerCard("w", "h", 1, "0", {}, {"ollama": 1}, {}, ("ask",), models=("small",))
    other = WorkerCard("w", "h", 1, "0", {}, {"io": 1}, {}, ("ask",))
    assert missing(asks, []) == missing(asks, [other]) == "processor"
    assert missing(asks, [without]) == "model"
    flows = LaneView(lane("io", processor="flow"), 1, 0, 0)
    assert missing(flows, [other]) == ""


def test_a_lag_that_redis_does_not_know_is_no_lag_of_nothing() -> None:
    known, unknown = LaneView(lane(), 3, 0, 0, lag=3), LaneView(lane(), 2, 0, 0)
    assert (lag_of([]), lag_of([known, known]), lag_of([known, unknown])) == (0, 6, None)


def test_apps_beyond_the_limit_are_counted_only() -> None:
    tallies = {("submitted", lane(app=f"app{n:03}")): 1_000 - n for n in range(APPS_MAX + 7)}
    families = {family.name: family for family in AppSnapshot(tallies, []).collect()}
    listed = {sample.labels["app"] for sample in families["roughneck_app_waiting"].samples}
    assert listed == {f"app{n:03}" for n in range(APPS_MAX)}
    assert families["roughneck_apps_unlisted"].samples[0].value == 7


async def test_a_scrape_asks_redis_as_often_whatever_waits(edge: Edge, redis: Redis) -> None:
    """Its cost follows lanes, not jobs: `python -m ops.bench.scrape` measures it."""

    async def commands() -> int:
        await redis.config_resetstat()
        await scraped(edge)
        found = await redis.info("commandstats")
        return sum(int(row["calls"]) for row in found.values())

    await edge.parts.broker.submit([new_job()])
    few = await commands()
    await edge.parts.broker.submit([new_job() for _ in range(500)])
    assert await commands() == few
