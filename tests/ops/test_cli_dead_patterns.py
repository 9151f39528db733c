"""`roughneck dead patterns`: dead letters in clusters, with what is unusual about them."""

import msgspec

from ops.cli.dead_patterns import clusters_of, row_of
from ops.links import Engine
from streams.model import Dead, Fault, Job, Lane, Priority, ResourceClass, Settlement, State
from tests.ops.test_cli import Cli, cli, on
from tests.support.build import Hand, new_job

__all__ = ["cli"]  # a fixture

NOW_MS = 1_760_000_000_000
HOUR_MS = 3_600_000


def letter(message: str, ended_ms: int, app: str = "shop", code: str = "timed_out") -> Job:
    lane = Lane(ResourceClass.IO, app, Priority.NORMAL, "fetch", "")
    job = Job("0-1", lane, State.DEAD, ended_ms, 1, 1, 0, 1, 1_000, ended_ms=ended_ms)
    return msgspec.structs.replace(job, fault=Fault(code, message))


def test_letters_of_one_error_are_one_row_whatever_their_numbers() -> None:
    days = [
        letter(f"page {number} took {number} ms", NOW_MS - day * 24 * HOUR_MS - number)
        for day in range(1, 7)
        for number in range(3)
    ]
    storm = [letter(f"no host a{n}.example", NOW_MS - n, code="unavailable") for n in range(9)]
    usual = [letter("page 7 took 9 ms", NOW_MS - 5)]
    found = clusters_of([*storm, *days, *usual], NOW_MS, (1, 7))
    rows = [row_of(cluster) for cluster in found.clusters]
    assert [(row["LETTERS"], row["PROCESSOR, ERROR"]) for row in rows] == [
        (9, "fetch: unavailable"),
        (1, "fetch: timed_out"),
    ]
    assert str(rows[0]["UNUSUAL"]).startswith("new, spike 0.9/min 9σ")
    assert rows[1]["UNUSUAL"] == ""
    assert rows[1]["MESSAGE"] == "page <num> took <num> ms"
    assert (found.errors, found.rare) == (10, 0)


def test_the_command_reads_them_from_redis(cli: Cli, redis_url: str) -> None:
    async def die(engine: Engine) -> None:
        hand = Hand(engine.broker)
        await engine.broker.submit([new_job() for _ in range(6)])
        for number, lease in enumerate(await hand.take(slots=6)):
            fault = Dead(Fault("crashed", f"process {number} was killed"))
            await engine.broker.settle(hand.id, [Settlement(lease.job_id, lease.token, fault)])

    assert "no dead letter" in cli("dead", "patterns").err
    on(redis_url, die)
    ran = cli("dead", "patterns")
    assert ran.code == 0, ran.err
    assert "process <num> was killed" in ran.out
    assert "echo: crashed" in ran.out
    (cluster,) = cli("dead", "patterns", "-o", "json").json["clusters"]
    assert (cluster["count"], cluster["new"]) == (6, True)
    assert cli("dead", "patterns", "--least", "7", "-o", "json").json["clusters"] == []
