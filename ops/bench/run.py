"""Runs suites, round after round, each on an empty private Redis, and sums them up."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import uvloop

from ops.bench import meter
from ops.bench.figures import Figure, Report, summaries
from ops.bench.stage import staged
from ops.bench.suites import Suite
from ops.settings import VERSION

Say = Callable[[str], None]


def run(chosen: Mapping[str, Suite], *, rounds: int, append_only: bool, say: Say) -> Report:
    """Measure every suite once a round, so that what else runs on the machine meets all alike."""
    return uvloop.run(_run(chosen, rounds, append_only, say))


async def _run(chosen: Mapping[str, Suite], rounds: int, append_only: bool, say: Say) -> Report:
    found: dict[str, list[Figure]] = {name: [] for name in chosen}
    server, others = "", []
    for number in range(1, rounds + 1):
        for name, suite in chosen.items():
            began, used = time.monotonic(), meter.machine_cpu_s() - _ours()
            for part, measure in enumerate(suite.parts, 1):
                say(
                    f"round {number} of {rounds}: {name} {part} of {len(suite.parts)}, {suite.says}"
                )
                async with staged(append_only=append_only or suite.logged) as stage:
                    server = (await stage.engine.redis.info("server"))["redis_version"]
                    found[name] += await measure(stage)
            used = meter.machine_cpu_s() - _ours() - used
            others.append(max(0.0, used) / (time.monotonic() - began))
    return Report(
        version=VERSION,
        redis_version=server,
        python_version=platform.python_version(),
        machine=platform.platform(),
        cores=os.cpu_count() or 0,
        append_only=append_only,
        rounds=rounds,
        other_cores=statistics.median(others),
        suites={name: summaries(figures) for name, figures in found.items()},
    )


def _ours() -> float:
    """CPU seconds of this process and of the children that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
