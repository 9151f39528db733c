"""python -m tests.fuzz --requests 50000 --seed 1: hostile requests against a whole gateway."""

import asyncio
import time

import click

from ops.redis_binary import installed
from tests.fuzz.shots import shoot
from tests.fuzz.target import target
from tests.support.redis_server import RedisServer


@click.command()
@click.option("--requests", "count", default=50_000, show_default=True)
@click.option("--seed", "number", default=1, show_default=True)
def fuzz(count: int, number: int) -> None:
    """Send them and print what came back; exit code 1 when anything was answered 5xx."""
    server = RedisServer(installed()[0])
    try:
        began = time.monotonic()
        with target(server.url) as one:
            tally = shoot(one, count, number)
            findings = asyncio.run(one.findings())
        click.echo(f"Redis {installed()[0].label}, seed {number}, {time.monotonic() - began:.0f} s")
        click.echo(f"{'requests':12}{tally.requests:8}")
        for name, answers in tally.classes().items():
            click.echo(f"{name:12}{answers:8}")
        click.echo(f"{'5xx':12}{sum(n for s, n in tally.statuses.items() if s >= 500):8}")
        statuses = ", ".join(f"{s or '-'}: {n}" for s, n in sorted(tally.statuses.items()))
        click.echo(f"by status: {statuses}")
        click.echo(f"counters against structures: {findings or 'equal'}")
    finally:
        server.stop()
    if tally.faults or findings:
        raise SystemExit(1)


if __name__ == "__main__":
    fuzz()
