"""`roughneck endpoints` and `roughneck callbacks`, as an operator uses them."""

import json
from pathlib import Path

import pytest

from gateway.audit import path_of
from gateway.signing import secret_key
from ops.links import Engine
from ops.settings import load
from streams.deliveries import DeadDelivery, Delivered
from streams.model import CallbackRequest
from tests.ops.test_cli import Cli, cli, on
from tests.support.build import new_job

URL = "https://app.example/hooks"

assert cli is not None  # the fixture


def made(cli: Cli, *options: str) -> dict[str, str]:
    answer: dict[str, str] = cli(
        "endpoints", "create", URL, "--app", "web", "-o", "json", *options
    ).json
    return answer


async def three_ended(engine: Engine, endpoint: str) -> list[str]:
    """Three callbacks: two dead, one delivered; their ids."""
    jobs = [new_job(callback=CallbackRequest(URL, endpoint)) for _ in range(3)]
    await engine.broker.submit(jobs)
    for job in jobs:
        await engine.broker.cancel(job.id, "over")
    leases = (await engine.callbacks.take("courier-a", 1, 9)).leases
    verdicts = (DeadDelivery("no"), DeadDelivery("no"), Delivered(200, 3, "thanks"))
    for lease, verdict in zip(leases, verdicts, strict=True):
        await engine.callbacks.settle(lease.id, lease.token, verdict)
    return [lease.id for lease in leases]


def test_a_rotation_prints_a_new_secret(cli: Cli) -> None:
    first = made(cli, "--ordered")
    rotated = cli("endpoints", "rotate", first["id"], "-o", "json").json
    assert secret_key(rotated["secret"]) != secret_key(first["secret"])
    assert (first["ordered"], rotated["secrets_live"]) == (True, 2)
    dropped = cli("endpoints", "rotate", first["id"], "--drop-previous", "-o", "json").json
    assert dropped["secrets_live"] == 1
    assert cli("endpoints", "rotate", "ep_none").code == 2


def test_a_new_key_seals_everything_anew(cli: Cli, redis_url: str) -> None:
    endpoint = made(cli)
    said = cli("endpoints", "new-key", "-o", "json").json
    assert said["resealed"] == 1
    stored = on(redis_url, lambda engine: engine.callbacks.endpoints.get(endpoint["id"]))
    assert stored is not None
    assert f".{said['key']}." in stored.secrets[0]
    assert Path(said["file"]).read_text().count(said["key"]) == 1


def test_an_endpoint_without_a_courier_is_tested_in_vain(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.cli.endpoints.TEST_WAIT_S", 0.1)
    answer = cli("endpoints", "test", made(cli)["id"], "-o", "json").json
    assert (answer["test"], answer["state"], answer["attempts"]) == (True, "waiting", [])


def test_callbacks_are_replayed_by_endpoint_and_time(cli: Cli, redis_url: str) -> None:
    endpoint = made(cli)["id"]
    ids = on(redis_url, lambda engine: three_ended(engine, endpoint))
    listed = cli("callbacks", "list", "--endpoint", endpoint, "--state", "dead", "-o", "json").json
    assert {one["id"] for one in listed} == set(ids[:2])
    shown = cli("callbacks", "show", ids[2])
    assert "200" in shown.out
    assert "thanks" in shown.out

    def replayed(*options: str) -> int:
        count: int = cli("callbacks", "replay", *options, "-o", "json").json["replayed"]
        return count

    assert replayed("--dead", "--endpoint", "ep_other") == 0
    assert replayed("--dead", "--until", "2020-01-01") == 0
    assert replayed("--delivered", "--since", "2020-01-01", "--app", "etyde") == 1
    assert replayed("--dead", "--endpoint", endpoint) == 2
    assert cli("callbacks", "replay", "--dead", ids[0]).code == 2


def test_what_is_done_is_in_the_audit_log(cli: Cli) -> None:
    path = path_of(load(environ={}).gateway)
    assert path is not None
    begin = path.stat().st_size if path.exists() else 0
    endpoint = made(cli)
    for command in ("rotate", "enable", "delete"):
        assert cli("endpoints", command, endpoint["id"]).code == 0
    with path.open() as file:
        file.seek(begin)
        lines = [json.loads(line) for line in file]
    actions = [(line["action"], line["subject"]) for line in lines]
    assert actions == [
        (f"{what}_endpoint", endpoint["id"]) for what in ("create", "rotate", "enable", "delete")
    ]
    assert endpoint["secret"] not in str(lines)
