"""A whole gateway to be shot at: as `roughneck gateway` makes it, in a thread, on a free port."""

import asyncio
import contextlib
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop
from hypothesis.errors import HypothesisDeprecationWarning
from redis import Redis
from starlette.types import ASGIApp

from gateway import mirror
from gateway.auth import Scope, mint_key
from gateway.server import GatewayServer
from ops.links import opened_engine
from ops.settings import Settings, load
from ops.wiring import build_gateway
from streams.clock import SystemClock
from streams.model import Dead, Done, Fault, Settlement
from tests.http.edge import card
from tests.support.build import Hand, new_job

# Short, so that what waits for more does not make the run long.
HASTE = {
    "gateway.port": 0,
    "gateway.head_read_s": 0.25,
    "gateway.body_read_s": 0.25,
    "gateway.idle_s": 0.25,
    "gateway.wait_max_s": 0.02,
    "gateway.stop_s": 1.0,
}


class Target:
    """Where it listens, and keys that may do everything: of an app, and of all apps."""

    def __init__(self, url: str, folder: Path) -> None:
        given = {
            **HASTE,
            "redis.url": url,
            "gateway.audit_file": str(folder / "audit.log"),
            "gateway.journal_folder": str(folder / "journal"),
        }
        self.settings: Settings = load(environ={}, given=given)
        self.port = 0
        self.loop = uvloop.new_event_loop()
        self.app: ASGIApp | None = None  # for those who ask it without a socket
        self.keys: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ("io", "echo", "etyde")  # of things that exist
        self._records: dict[str, bytes] = {}  # of the keys: they may be revoked
        self._redis = Redis.from_url(url)

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    def calm(self) -> None:
        """Undo what would make all that follows be refused: limits, and keys revoked."""
        self._redis.delete("{rn}:app_limits", *self._redis.keys("{rn}:rate:*"))
        self._redis.hset("{rn}:keys", mapping=self._records)

    async def prepare(self) -> None:
        """Make keys and a processor."""
        async with opened_engine(self.settings, "fuzz") as engine:
            for app in ("etyde", "*"):
                scopes = tuple(map(str, Scope))
                record, key = mint_key(app, scopes, now_ms=SystemClock().now_ms())
                await engine.directory.put_key(record)
                self.keys += (key,)
                self._records[record.id] = msgspec.json.encode(record)
            await engine.directory.publish_processor(card())
            jobs = [new_job(app="etyde") for _ in range(4)]
            await engine.broker.submit(jobs)
            hand = Hand(engine.broker)
            for verdict in (Done(b"1"), Dead(Fault("boom", "it broke"))):
                (lease,) = await hand.take()
                settlement = Settlement(lease.job_id, lease.token, verdict)
                await engine.broker.settle(hand.id, [settlement])
            self.names += tuple(job.id for job in jobs)

    async def findings(self) -> list[str]:
        """What contradicts I1 now."""
        async with opened_engine(self.settings, "fuzz") as engine:
            return await engine.inspector.audit()

    async def serve(self, up: threading.Event, stop: asyncio.Event) -> None:
        """Run until told to stop."""
        services = build_gateway(self.settings, with_courier=False)
        started = []
        try:
            for service in services:
                await service.start()
                started.append(service)
                if isinstance(service, GatewayServer):
                    self.port, self.app = service.port, service._app
            up.set()
            await stop.wait()
        finally:
            for service in reversed(started):
                await service.stop()


@contextlib.contextmanager
def random_allowed() -> Iterator[None]:
    """Hypothesis minds who uses `random` while it draws; the gateway in the other thread may."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Do not use the `random`", HypothesisDeprecationWarning)
        yield


@contextlib.contextmanager
def target(redis_url: str) -> Iterator[Target]:
    """A gateway over that Redis, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="rn-fuzz-") as folder:
        one = Target(redis_url, Path(folder))
        asyncio.run(one.prepare())
        mirror.MISS_S = 0.01  # else most of a run is waiting for names that nobody has
        up, loop, stop = threading.Event(), one.loop, asyncio.Event()
        thread = threading.Thread(
            target=lambda: loop.run_until_complete(one.serve(up, stop)), daemon=True
        )
        thread.start()
        try:
            assert up.wait(20.0), "the gateway did not start"
            yield one
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(20.0)
            loop.close()
            one._redis.close()
