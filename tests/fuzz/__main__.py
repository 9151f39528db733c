"""python -m tests.fuzz --requests 50000 --seed 1: hostile requests against a whole gateway.

With --described, Schemathesis over the description of the API instead: every boundary value.
"""

import asyncio
import time

import click

from ops.redis_binary import installed
from tests.fuzz.described import over_socket, settings
from tests.fuzz.shots import shoot
from tests.fuzz.target import target
from tests.support.redis_server import RedisServer


@click.command()
@click.option("--requests", "count", default=50_000, show_default=True)
@click.option("--seed", "number", default=1, show_default=True)
@click.option("--described", is_flag=True, help="Schemathesis, for some minutes.")
def fuzz(count: int, number: int, *, described: bool) -> None:
    """Send them and print what came back; exit code 1 when anything was answered 5xx."""
    server = RedisServer(installed()[0])
    try:
        good = (
            check_described(server.url, number) if described else check(server.url, count, number)
        )
    finally:
        server.stop()
    raise SystemExit(0 if good else 1)


def check(redis_url: str, count: int, number: int) -> bool:
    """Hostile bytes, and a table of what came back."""
    began = time.monotonic()
    with target(redis_url) as one:
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
    return not tally.faults and not findings


def check_described(redis_url: str, number: int) -> bool:
    """Every operation as it is described, and a table of what was wrong."""
    with target(redis_url) as one:
        config = settings(one.keys[0], examples=20, number=number, whole=True)
        sent, found = over_socket(one.url, config)
    click.echo(f"Schemathesis, seed {number}: {sent} answers checked, {len(found)} faults")
    for fault in found:
        click.echo(fault)
    return not found


if __name__ == "__main__":
    fuzz()
