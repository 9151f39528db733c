"""Control of jobs on the command line: explain, change, promote, attempts, purge, rates."""

import pytest

from ops.cli.moments import MOMENT
from ops.links import Engine
from streams.control import KeptLines
from streams.model import Again, Fault, NewJob, Settlement
from tests.ops.test_cli import CARD, Cli, Ran, cli, on, one_of_each
from tests.support.build import Hand, new_job

__all__ = ["cli"]


async def submitted(engine: Engine, *jobs: NewJob) -> None:
    await engine.broker.submit(jobs)


async def retried(engine: Engine) -> str:
    """A job with one failed attempt that logged a line; it waits for the next."""
    job, hand = new_job(), Hand(engine.broker)
    await engine.broker.submit([job])
    (lease,) = await hand.take()
    said = b'1764000000000\tinfo\tfetched\t{"pages": 3}\n'
    await engine.control.keep_lines([KeptLines(job.id, lease.token, 1, 0, said)])
    verdict = Again(60_000, Fault("boom", "it broke"))
    await engine.broker.settle(hand.id, [Settlement(job.id, lease.token, verdict)])
    return job.id


def test_a_job_is_explained(cli: Cli, redis_url: str) -> None:
    first, second = new_job(), new_job()
    on(redis_url, lambda engine: submitted(engine, first, second))
    out = cli("jobs", "explain", second.id).out.splitlines()
    assert out == [
        f"{second.id} is waiting.",
        "No live worker of class io has the processor echo: no worker lives.",
        "1 job is before it in its lane (etyde, normal, echo).",
    ]
    told = cli("jobs", "explain", second.id, "-o", "json").json
    assert (told["position"], told["reasons"][0]["code"]) == (2, "no_worker")
    assert cli("jobs", "explain", "0-none").code == 2


def test_a_job_is_changed_and_promoted(cli: Cli, redis_url: str) -> None:
    waiting, delayed = new_job(), new_job(delay_ms=10**7)
    on(redis_url, lambda engine: submitted(engine, waiting, delayed))
    assert cli("jobs", "change", waiting.id, "--priority", "high").code == 0
    assert cli("jobs", "change", delayed.id, "--run-at", "2090-01-01").code == 0
    assert cli("jobs", "show", delayed.id, "-o", "json").json["due_at"].startswith("20")
    assert cli("jobs", "promote", delayed.id, "-o", "json").json["outcome"] == "changed"
    urgent = cli("jobs", "list", "--state", "waiting", "-o", "json").json
    assert {job["id"]: job["priority"] for job in urgent} == {
        waiting.id: "high",
        delayed.id: "normal",
    }
    again = cli("jobs", "promote", delayed.id)
    assert (again.code, "is waiting" in again.err) == (2, True)
    assert cli("jobs", "promote", "0-none").code == 2
    assert cli("jobs", "change", waiting.id).code == 2


def test_a_job_is_shown_with_its_attempts_and_their_log(cli: Cli, redis_url: str) -> None:
    job_id = on(redis_url, retried)
    shown = cli("jobs", "show", job_id, "-o", "json").json
    assert (shown["id"], shown["attempts"][0]["ending"]) == (job_id, "failed")
    out = cli("jobs", "show", job_id).out
    assert "boom: it broke" in out
    assert 'info  fetched {"pages": 3}' in out


def test_jobs_are_found_by_tag_and_time(cli: Cli, redis_url: str) -> None:
    tagged = new_job(tags=("red",))
    on(redis_url, lambda engine: submitted(engine, tagged, new_job()))

    def ids(*options: str) -> list[str]:
        return [job["id"] for job in cli("jobs", "list", "-o", "json", *options).json]

    assert ids("--tag", "red") == [tagged.id]
    assert len(ids("--since", "1h")) == 2
    assert ids("--until", "1h") == []
    assert ids("--since", "2090-01-01") == []
    assert cli("jobs", "list", "--since", "yesterday").code == 2


def test_dead_letters_are_purged_after_a_dry_run(cli: Cli, redis_url: str) -> None:
    ids = on(redis_url, one_of_each)
    assert cli("dead", "purge").code == 2
    dry = cli("dead", "purge", "--code", "crashed", "--dry-run", "-o", "json").json
    assert [job["id"] for job in dry] == [ids["dead"]]
    assert cli("dead", "purge", ids["waiting"], "-o", "json").json == {ids["waiting"]: "waiting"}
    assert cli("dead", "purge", "--all", "-o", "json").json == {ids["dead"]: "purged"}
    assert cli("dead", "list", "-o", "json").json == []
    assert cli("status", "-o", "json").json["jobs"]["dead"] == 1  # counters stay


def test_a_unique_key_is_taken_shared_or_passed_on(cli: Cli, redis_url: str) -> None:
    on(redis_url, lambda engine: engine.directory.publish_processor(CARD))

    def submit(*options: str) -> Ran:
        return cli("submit", "echo", '{"message": "hi"}', "--unique", "k", *options)

    first = submit().out.strip()
    refused = submit()
    assert (refused.code, f"{first} has the unique key" in refused.err) == (2, True)
    assert submit("--on-conflict", "existing").out.strip() == first
    newer = submit("--on-conflict", "replace").out.strip()
    assert cli("jobs", "show", first, "-o", "json").json["error"]["code"] == "replaced"
    assert cli("jobs", "show", newer, "-o", "json").json["unique"]["name"] == "k"


def test_rates_are_set_and_shown(cli: Cli) -> None:
    assert cli("classes", "rate", "io", "60", "--per", "60", "--burst", "5").out == (
        "io: at most 60 in 60 s, 5 at once\n"
    )
    assert cli("classes", "rate", "io", "2", "--app", "web").code == 0
    listed = {view["name"]: view for view in cli("classes", "list", "-o", "json").json}
    assert listed["io"]["rate"] == {"jobs": 60, "per_ms": 60_000, "burst": 5}
    assert listed["io"]["app_rates"] == {"web": {"jobs": 2, "per_ms": 1_000, "burst": 2}}
    assert "no rate" in cli("classes", "rate", "io", "none").out
    assert cli("classes", "rate", "io", "many").code == 2


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1970-01-01T00:00:01+00:00", 1_000), ("2026-11-23T06:00+01:00", 1_795_410_000_000)],
)
def test_moments(text: str, ms: int) -> None:
    assert MOMENT.convert(text, None, None) == ms
