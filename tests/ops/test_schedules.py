"""Schedules at the command line, and in the settings."""

from pathlib import Path

import pytest

from ops.declared import declared_schedules
from ops.settings import load, rows
from streams.errors import ConfigError
from tests.ops.test_cli import CARD, Cli, cli, on

__all__ = ["cli"]  # a fixture
HI = '{"message": "hi"}'
TABLE = """
[schedules.nightly]
app = "web"
cron = "30 2 * * *"
zone = "Europe/Copenhagen"
starts_at = 2026-12-01T00:00:00+01:00
overlap = "skip"
job = { processor = "echo", payload = { message = "hush" } }
"""


@pytest.fixture(autouse=True)
def published(cli: Cli, redis_url: str) -> None:
    on(redis_url, lambda engine: engine.directory.publish_processor(CARD))


def test_a_schedules_life(cli: Cli) -> None:
    added = cli("schedules", "add", "pulse", "echo", HI, "--every", "90", "-o", "json")
    assert (added.code, added.json["every_s"], added.json["app"]) == (0, 90, "cli")
    again = cli("schedules", "add", "pulse", "echo", HI, "--every", "90")
    assert (again.code, "already" in again.err) == (2, True)
    replaced = cli(
        *("schedules", "add", "pulse", "echo", HI, "--cron", "0 6 * * MON", "--replace"),
        *("--zone", "Europe/Copenhagen", "-o", "json"),
    )
    assert (replaced.json["revision"], replaced.json["cron"]) == (2, "0 6 * * MON")
    shown = cli("schedules", "show", "pulse").out
    assert "0 6 * * MON Europe/Copenhagen" in shown
    assert HI in shown
    assert cli("schedules", "pause", "pulse", "-o", "json").json["paused"] is True
    (row,) = cli("schedules", "list").out.splitlines()[1:]
    assert "paused" in row
    assert cli("schedules", "list", "-o", "json").json[0]["name"] == "pulse"
    job = cli("schedules", "trigger", "pulse").out.strip()
    assert cli("status", job, "-o", "json").json["state"] == "waiting"
    assert cli("schedules", "resume", "pulse", "-o", "json").json["paused"] is False
    assert cli("schedules", "remove", "pulse").code == 0
    for what in ("show", "pause", "resume", "trigger", "remove", "preview"):
        gone = cli("schedules", what, "pulse")
        assert (gone.code, "cli has no schedule pulse" in gone.err) == (2, True)
    assert "there is no schedule" in cli("schedules", "list").err


def test_preview(cli: Cli) -> None:
    line = ("--cron", "0 6 * * MON", "--zone", "Europe/Copenhagen", "--count", "3")
    out = cli("schedules", "preview", *line).out.splitlines()
    assert len(out) == 4
    assert all(row.startswith("Mon ") and " 06:00:00 " in row for row in out[1:])
    cli("schedules", "add", "weekly", "echo", HI, *line[:4])
    named = cli("schedules", "preview", "weekly", "--count", "3")
    assert named.out.splitlines() == out
    found = cli("schedules", "preview", "weekly", "-o", "json").json
    assert (found["zone"], len(found["items"])) == ("Europe/Copenhagen", 10)
    assert cli("schedules", "preview").code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("echo", HI), "either `cron` or `every_s`"),
        (("echo", HI, "--every", "0.5"), "0.5 is not in the range"),
        (("echo", HI, "--cron", "0 0 31 2 *"), "never due"),
        (("echo", HI, "--cron", "* * * * *", "--zone", "Mars"), "no time zone"),
        (("echo", "{}", "--every", "5"), "$.job.payload.message"),
        (("echo", "{", "--every", "5"), "no JSON"),
        (("nothing", HI, "--every", "5"), "no worker has published"),
        (("echo", HI, "--every", "5", "--starts", "tomorrow"), "$.starts_at"),
    ],
)
def test_what_is_refused(cli: Cli, arguments: tuple[str, ...], sentence: str) -> None:
    ran = cli("schedules", "add", "nightly", *arguments)
    assert (ran.code, sentence in ran.err) == (2, True), ran.err
    assert cli("schedules", "list", "-o", "json").json == []


# ---------------------------------------------------------------- in the settings


def test_a_table_is_a_schedule(tmp_path: Path) -> None:
    path = tmp_path / "roughneck.toml"
    path.write_text(TABLE)
    settings = load(path, environ={"ROUGHNECK_SCHEDULES__NIGHTLY__JITTER_S": "5"})
    (request,) = declared_schedules(settings).values()
    assert (request.app, request.jitter_s, request.overlap) == ("web", 5.0, "skip")
    assert bytes(request.job.payload) == b'{"message":"hush"}'
    shown = {row.name: row.value for row in rows(settings)}
    assert shown["schedules.nightly.cron"] == "30 2 * * *"
    assert "hush" not in "".join(shown.values())


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (('"30 2 * * *"', '"0 0 31 2 *"'), "never due.*`\\$.schedules.nightly.cron`"),
        (('"Europe/Copenhagen"', '"Mars"'), "no time zone.*`\\$.schedules.nightly.zone`"),
        (('overlap = "skip"', "overlaps = 1"), "unknown field `overlaps`.*nightly`"),
        (('"30 2 * * *"', "5"), "`\\$.schedules.nightly.cron`"),
        (('app = "web"', ""), "missing required field `app`"),
        (("schedules.nightly", 'schedules."Not so"'), "a name fits"),
    ],
)
def test_a_table_that_is_none(tmp_path: Path, changed: tuple[str, str], sentence: str) -> None:
    path = tmp_path / "roughneck.toml"
    path.write_text(TABLE.replace(*changed))
    with pytest.raises(ConfigError, match=sentence):
        declared_schedules(load(path, environ={}))
