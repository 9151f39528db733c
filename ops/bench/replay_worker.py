"""The worker process of a replay: the real worker, runtime, adapter and breaker, and one processor.

`python -m ops.bench.replay_worker`, told by a line of JSON on standard input; it runs until its
standard input ends.
"""

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop

from ops.bench.policies import sources_for
from ops.bench.workload import LOADS_S
from ops.chores import OllamaWatch
from ops.links import open_redis
from ops.running import hold_lifeline
from ops.settings import RedisSettings
from processors.dependencies.ollama import ModelAlias, OllamaProvider, OllamaSettings
from processors.runtime import Runtime
from processors.sdk import Ask, Context, Manifest, processor
from processors.sdk import ResourceClass as Class
from processors.sdk.declaration import declared
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.broker import Broker
from streams.keyspace import Keyspace
from streams.model import ResourceClass
from streams.settings import EngineSettings
from streams.worker import Worker, WorkerPlan

PROCESSOR, HOST = "model-work", "bench"
PROMPT = "Work."


class Told(msgspec.Struct, frozen=True):
    """What a worker is told: where, and by which rule at what speed of the clock."""

    redis: str
    ollama: str
    folder: str
    policy: str
    speed: float
    number: int


class Input(msgspec.Struct):
    """How long the model is to speak."""

    tokens: int


@processor(
    Manifest(
        name=PROCESSOR,
        version="1",
        summary="Lets a model speak for some tokens.",
        resource_class=Class.OLLAMA,
        dependencies=("ollama",),
        model="gen-32b",
        timeout_s=600,
    )
)
async def model_work(given: Input, context: Context) -> None:
    """Ask, and read the answer to its end."""
    await context.ollama.ask(Ask.of(PROMPT, max_tokens=given.tokens))


async def work(told: Told) -> None:
    """Run jobs until standard input ends."""
    redis = RedisSettings(url=told.redis)
    ollama = OllamaProvider(ollama_settings(told))
    found = declared(model_work)
    assert found is not None
    host = Host(Registry([found]), [ollama])
    control, bell = open_redis(redis, "bench"), open_redis(redis, "bench-bell")
    sources = sources_for(told.policy, told.speed)
    broker = Broker(control, Keyspace(), EngineSettings(), sources)
    name = ResourceClass.OLLAMA
    plan = WorkerPlan(f"bench-{told.number}-worker", {name: 1}, {name: [PROCESSOR]}, HOST)
    worker = Worker(broker, plan, host.run, control=control, bell=bell)
    runtime = Runtime(worker, [OllamaWatch(ollama, worker)])
    stopped = asyncio.Event()
    hold_lifeline(stopped.set)
    await host.start()
    await runtime.start()
    await stopped.wait()
    await runtime.stop()
    await host.stop()
    await control.aclose()
    await bell.aclose()


def ollama_settings(told: Told) -> OllamaSettings:
    """An alias for each model, named as its tag."""
    models = {name: ModelAlias(name) for name in LOADS_S}
    return OllamaSettings(
        url=told.ollama,
        host=HOST,
        runtime_dir=str(Path(told.folder)),
        models=models,
    )


def main() -> None:
    """Work as told."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=Told)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(told))


if __name__ == "__main__":
    main()
