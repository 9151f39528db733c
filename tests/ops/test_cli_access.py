"""Keys, limits of apps and the audit log, from the command line."""

import json
from pathlib import Path

import msgspec
import pytest

from gateway.audit import path_of
from gateway.settings import GatewaySettings
from streams.directory import AppLimits
from tests.ops.test_cli import Cli, cli, on

assert cli is not None  # the fixture


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An audit log of the test's own."""
    path = tmp_path / "audit.log"
    monkeypatch.setenv("ROUGHNECK_GATEWAY__AUDIT_FILE", str(path))
    return path


def told(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


def test_a_key_from_its_making_to_its_end(cli: Cli, redis_url: str, log: Path) -> None:
    made = cli("keys", "create", "--app", "web", "--from", "10.8.0.0/24", "-o", "json").json
    on(redis_url, lambda engine: engine.directory.note_key_uses({made["id"]: 1_000}))
    rotated = cli("keys", "rotate", made["id"], "-o", "json").json
    assert rotated["key"] != made["key"]
    assert (rotated["app"], rotated["scopes"], rotated["networks"]) == (
        "web",
        ["submit", "read"],
        ["10.8.0.0/24"],
    )
    keys = {key["id"]: key for key in cli("keys", "list", "-o", "json").json}
    assert keys[made["id"]]["replaced_by"] == rotated["id"]
    assert keys[made["id"]]["last_used_at"] == "1970-01-01T00:00:01Z"
    assert keys[made["id"]]["expires_at"] is not None
    assert keys[rotated["id"]]["expires_at"] is None
    again = cli("keys", "rotate", made["id"])
    assert (again.code, "rotated before" in again.err) == (2, True)
    assert cli("keys", "revoke", made["id"]).code == 0
    assert cli("keys", "rotate", made["id"]).code == 2
    actions = [(line["action"], line["subject"]) for line in told(log)]
    assert actions == [
        ("create_key", made["id"]),
        ("rotate_key", made["id"]),
        ("revoke_key", made["id"]),
    ]
    for key in (made["key"], rotated["key"]):
        assert key.split("_", 2)[2] not in log.read_text("utf-8")


def test_a_bad_network_is_named(cli: Cli) -> None:
    refused = cli("keys", "create", "--app", "web", "--from", "10.8.0.0/33")
    assert (refused.code, "10.8.0.0/33" in refused.err) == (2, True)


def test_limits_of_an_app_are_set_one_by_one_and_removed(
    cli: Cli, redis_url: str, log: Path
) -> None:
    assert cli("apps", "limit", "web", "--rate", "2.5", "--in-flight", "100").code == 0
    assert cli("apps", "limit", "web", "--burst", "10").code == 0
    assert cli("apps", "limit", "*", "--bytes-per-minute", "5000").code == 0
    assert on(redis_url, lambda engine: engine.directory.app_limits()) == {
        "web": AppLimits(requests_per_s=2.5, burst=10, jobs_in_flight=100),
        "*": AppLimits(bytes_per_minute=5000),
    }
    shown = {app["app"]: app for app in cli("apps", "list", "-o", "json").json}
    assert (shown["web"]["own"], shown["web"]["in_flight"]) == (True, 0)
    assert "REQUESTS/S" in cli("apps", "list").out
    for name in ("--rate", "--burst", "--in-flight"):
        assert cli("apps", "limit", "web", name, "none").code == 0
    assert set(on(redis_url, lambda engine: engine.directory.app_limits())) == {"*"}
    assert {line["subject"] for line in told(log)} == {"web", "*"}


@pytest.mark.parametrize(
    "arguments",
    [["web"], ["WEB", "--rate", "1"], ["web", "--rate", "0"], ["web", "--burst", "many"]],
)
def test_limits_that_make_no_sense(cli: Cli, arguments: list[str]) -> None:
    assert cli("apps", "limit", *arguments).code == 2


def test_what_operators_do_is_told_and_checked(cli: Cli, log: Path) -> None:
    cli("classes", "pause", "io")
    cli("classes", "limit", "io", "7", "--app", "web")
    cli("classes", "resume", "io")
    tail = cli("audit", "tail", "-n", "2", "-o", "json").json
    assert [line["action"] for line in tail] == ["limit_class", "resume_class"]
    assert tail[0]["key"].startswith("cli:")
    assert "limit=7" in cli("audit", "tail").out
    checked = cli("audit", "verify")
    assert (checked.code, checked.out.startswith("3 lines are whole")) == (0, True)
    log.write_text(log.read_text("utf-8").replace('"7"', '"8"'), "utf-8")
    broken = cli("audit", "verify", str(log))
    assert (broken.code, "line 2: was changed" in broken.err) == (2, True)


def test_lines_missing_at_the_end_are_told(cli: Cli, log: Path) -> None:
    cli("classes", "pause", "io")
    cli("classes", "resume", "io")
    log.write_text(log.read_text("utf-8").splitlines(keepends=True)[0], "utf-8")
    broken = cli("audit", "verify")
    assert (broken.code, "1 lines are missing" in broken.err) == (2, True)


def test_without_a_file_nothing_is_kept_and_nothing_breaks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUGHNECK_GATEWAY__AUDIT_FILE", "")
    assert path_of(msgspec.structs.replace(GatewaySettings(), audit_file="")) is None
    assert cli("classes", "pause", "io").code == 0
    assert cli("audit", "tail").code == 2
    assert cli("audit", "verify").code == 2
