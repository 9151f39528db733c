"""Server-sent events of jobs: in order, resumable, and right whether or not an event is seen."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway import events as module
from gateway.feed import Feed, Wanted, before, key_of
from gateway.settings import GatewaySettings
from streams.events import Event, EventReader
from streams.model import Done, Settlement
from tests.http.edge import KEYS, echo
from tests.http.listening import listening
from tests.http.served import Served
from tests.support.build import Hand, new_job
from tests.support.waiting import until

SETTINGS = GatewaySettings(port=0, stop_s=5.0, streams_per_app_max=3)


class Scene(Served):
    """A served gateway and a worker's hand."""

    def __init__(self, redis: Redis, reading: Redis) -> None:
        super().__init__(redis, reading, SETTINGS)
        self.hand = Hand(self.parts.broker)

    async def submit(self, **fields: object) -> str:
        async with self.client() as http:
            reply = await http.post("/v1/jobs", json=echo(**fields))
        return str(reply.json()["id"])

    async def finish(self) -> str:
        """Run the next job to its end, with a word on its progress."""
        [lease] = await self.hand.take()
        await self.parts.broker.report([(lease.job_id, lease.token, 0.5, "half")])
        await self.parts.broker.settle(
            self.hand.id, [Settlement(lease.job_id, lease.token, Done(b"1"))]
        )
        return lease.job_id


@pytest.fixture
async def scene(redis: Redis, redis_url: str) -> AsyncIterator[Scene]:
    async with Redis.from_url(redis_url) as reading, Scene(redis, reading) as scene:
        yield scene


async def test_a_job_is_followed_to_its_end(scene: Scene) -> None:
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.kind, first.data["state"]) == ("job", "waiting")
        await scene.finish()
        heard = await stream.rest()
    assert [one.kind for one in heard] == ["active", "progress", "ended", "job"]
    assert heard[1].data["progress"] == 0.5
    assert heard[1].data["note"] == "half"
    assert heard[-1].data["state"] == "succeeded"
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["x-accel-buffering"] == "no"
    assert stream.response.headers["cache-control"] == "no-store"


async def test_a_follower_that_was_cut_off_misses_nothing(scene: Scene) -> None:
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
        begun = await stream.until("job")
    await scene.finish()
    path = f"/v1/jobs/{job_id}/events"
    async with listening(scene, path, last_event_id=begun.id) as stream:
        heard = await stream.rest()
    assert [one.kind for one in heard] == ["active", "progress", "ended", "job"]
    async with listening(scene, path, last_event_id=heard[1].id) as stream:
        assert [one.kind for one in await stream.rest()] == ["ended", "job"]
    async with listening(scene, path, last_event_id=heard[-1].id) as stream:
        assert stream.response.status_code == 204, "a browser need not come again"


async def test_a_job_that_has_ended_is_told_at_once(scene: Scene) -> None:
    await scene.submit()
    job_id = await scene.finish()
    async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
        assert [one.data["state"] for one in await stream.rest()] == ["succeeded"]


async def test_a_cut_stream_of_events_hides_no_end(scene: Scene, redis: Redis) -> None:
    """What a follower has not seen is not there any more: it gets the job as it stands."""
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
        begun = await stream.until("job")
    await scene.finish()
    await redis.xtrim(KEYS.key("events"), maxlen=0)
    await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events", last_event_id=begun.id) as stream:
        heard = await stream.rest()
    assert [(one.kind, one.data["state"]) for one in heard] == [("job", "succeeded")]


class Deaf(EventReader):
    """A reader to whom no event ever comes."""

    async def read(self, after: str, block_ms: int = 0, count: int = 1_000) -> list[Event]:
        await asyncio.sleep(block_ms / 1_000)
        return []


async def test_an_end_is_told_without_its_event(
    scene: Scene, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr(scene.parts.feed, "_events", Deaf(redis, KEYS))
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
        await stream.until("job")
        await scene.finish()
        assert (await stream.rest())[-1].data["state"] == "succeeded"


async def test_a_quiet_stream_beats(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.02)
    monkeypatch.setattr(module, "BEAT_S", 0.05)
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events", prefer="wait=1") as stream:
        await stream.rest()
    assert stream.comments >= 5
    assert [one.kind for one in stream.heard] == ["job"], "what has not changed is told once"


async def test_all_jobs_of_an_app_by_processor_and_tag(scene: Scene) -> None:
    async with listening(scene, "/v1/events?tag=red&processor=echo") as stream:
        await stream.beat()
        plain, red = await scene.submit(), await scene.submit(tags=["red"])
        await scene.finish()
        await scene.finish()
        ended = await stream.until("ended")
    assert {one.data["job"] for one in stream.heard} == {red}
    assert plain != red
    assert (ended.data["app"], ended.data["processor"]) == ("etyde", "echo")
    async with listening(scene, "/v1/events?kind=ended", last_event_id="1-0") as stream:
        assert {(await stream.until("ended")).data["job"] for _ in range(2)} == {plain, red}


async def test_an_app_follows_only_its_own(scene: Scene) -> None:
    async with listening(scene, "/v1/events?app=etyde", key="other") as stream:
        assert stream.response.status_code == 403
    async with listening(scene, "/v1/events", key="other", prefer="wait=1") as stream:
        await stream.beat()
        await scene.submit()
        assert await stream.rest() == []
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events", key="other") as stream:
        assert stream.response.status_code == 404
    async with listening(scene, "/v1/events", key="operator") as stream:
        await stream.beat()
        other = await scene.submit()
        assert (await stream.until("submitted")).data["job"] == other


async def test_an_app_that_was_away_too_long_is_told_of_the_gap(scene: Scene, redis: Redis) -> None:
    await scene.submit()
    await redis.xtrim(KEYS.key("events"), maxlen=0)
    await scene.submit()
    async with listening(scene, "/v1/events", last_event_id="1-0") as stream:
        assert [(await stream.next()).kind for _ in range(2)] == ["gap", "submitted"]  # type: ignore[union-attr]  # there are two


async def test_too_many_streams_of_an_app_are_refused_and_leaving_makes_room(
    scene: Scene,
) -> None:
    job_id = await scene.submit()
    path = f"/v1/jobs/{job_id}/events"
    async with (
        listening(scene, path) as one,
        listening(scene, path) as two,
        listening(scene, "/v1/events"),
    ):
        await until(lambda: scene.parts.feed.followers == 3, what="all to follow")
        async with listening(scene, path) as refused:
            assert refused.response.status_code == 429
            assert refused.response.headers["retry-after"]
        async with listening(scene, path, key="operator") as other:
            assert other.response.status_code == 200
        assert (await one.next(), await two.next()) != (None, None)
    await until(lambda: scene.parts.viewers.open == 0, what="all to have left")
    assert scene.parts.feed.followers == 0


async def test_a_head_gets_the_head_alone(scene: Scene) -> None:
    job_id = await scene.submit()
    async with scene.client() as http:
        reply = await http.head(f"/v1/jobs/{job_id}/events")
    assert (reply.status_code, reply.content) == (200, b"")
    assert scene.parts.viewers.open == 0


@pytest.mark.parametrize("wrong", ["x", "1", "1-2-3-4", "9" * 40])
async def test_an_id_that_was_never_sent_is_refused(scene: Scene, wrong: str) -> None:
    job_id = await scene.submit()
    async with listening(scene, f"/v1/jobs/{job_id}/events", last_event_id=wrong) as stream:
        assert stream.response.status_code == 422


async def test_a_stopping_gateway_sends_its_followers_home(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url) as reading:
        async with Scene(redis, reading) as scene:
            job_id = await scene.submit()
            async with listening(scene, f"/v1/jobs/{job_id}/events") as stream:
                await stream.until("job")
                async with asyncio.timeout(4), asyncio.TaskGroup() as group:
                    group.create_task(scene.server.stop())
                    heard = await stream.rest()
        assert [(one.kind, one.data) for one in heard] == [("reconnect", {"reason": "stopping"})]


async def test_one_who_does_not_keep_up_is_told_to_come_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.feed.BUFFER_MAX", 3)
    async with listening(scene, "/v1/events") as stream:
        await stream.beat()
        await scene.parts.broker.submit([new_job() for _ in range(6)])
        assert (await stream.until("reconnect")).data == {"reason": "too slow"}
        assert await stream.rest() == []


async def test_the_reader_tells_of_what_was_cut_while_it_was_away(
    scene: Scene, redis: Redis
) -> None:
    feed = Feed(EventReader(redis, KEYS))
    await scene.submit()
    feed._position = "5-0"
    with feed.following(Wanted()) as follower:
        await feed._look_for_gap()
    assert follower.gap


@pytest.mark.parametrize(
    ("event_id", "read_after"),
    [("7-3-2", "7-2"), ("7-0-0", f"6-{2**63 - 1}")],
)
def test_an_entry_is_read_again_from_its_beginning(event_id: str, read_after: str) -> None:
    assert before(event_id) == read_after
    assert key_of(event_id) > key_of(read_after)
