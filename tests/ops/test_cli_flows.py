"""`roughneck flows`: what it prints, and the exit code of every ending."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.links import Engine
from processors.sdk.flows import flow_card
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from streams.model import ResourceClass
from tests.http.staged import PROCESSORS, WEEKLY, Act, ad_hoc
from tests.ops.test_cli import Cli, cli, on
from tests.redis.stage import ended
from tests.support.plain_worker import plain_worker

__all__ = ["cli"]  # a fixture
ONES = [one for one in PROCESSORS if one.name != "plan-pages"]


@pytest.fixture(autouse=True)
def fresh() -> None:
    Act.reset()


async def publish(engine: Engine) -> None:
    for card in Registry(ONES).cards({}, 1):
        await engine.directory.publish_processor(card)
    await engine.directory.publish_flow(flow_card(WEEKLY, 1))


def run_to_the_end(url: str, flow_id: str) -> None:
    """A worker runs the flow."""

    async def act(engine: Engine) -> None:
        async with Host(Registry(ONES), []) as host:
            names, slots = [one.name for one in ONES], {ResourceClass.IO: 5}
            async with plain_worker(engine.broker, url, host.run, slots=slots, processors=names):
                await ended(engine.inspector, flow_id)

    on(url, act)


def written(folder: Path, body: Any) -> str:
    file = folder / "flow.json"
    file.write_text(json.dumps(body))
    return str(file)


def test_a_flow_is_submitted_from_a_file_and_shown_as_a_tree(
    cli: Cli,
    redis_url: str,
    tmp_path: Path,
) -> None:
    on(redis_url, publish)
    file = written(tmp_path, {"name": "weekly", "input": {"count": 3}})
    submitted = cli("flows", "submit", file)
    flow_id = submitted.out.strip()
    assert (submitted.code, "warning: no live worker has list-pages" in submitted.err) == (0, True)
    waiting = cli("flows", "show", flow_id)
    assert "waiting  0 of 3 stages" in waiting.out
    (listed,) = cli("flows", "list", "-o", "json").json
    assert (listed["id"], listed["name"], listed["state"]) == (flow_id, "weekly", "waiting")
    run_to_the_end(redis_url, flow_id)
    shown = cli("flows", "show", flow_id, "--watch")
    assert shown.code == 0
    first, *stages = shown.out.splitlines()
    assert first.startswith(f"weekly {flow_id} succeeded")
    assert [line.split()[2] for line in stages] == ["list", "read", "join"]
    assert "3: 3 succeeded" in stages[1]
    assert "after list too" in stages[2]
    assert cli("flows", "show", flow_id, "-o", "json").json["result"]["words"] == 3
    assert cli("wait", flow_id).json["words"] == 3
    assert cli("flows", "list", "--state", "running", "-o", "json").json == []
    assert flow_id in cli("flows", "list", "--app", "cli").out


def test_a_flow_that_failed_is_exit_code_1_and_runs_again(
    cli: Cli,
    redis_url: str,
    tmp_path: Path,
) -> None:
    on(redis_url, publish)
    Act.failing = {1}
    accepted = cli("flows", "submit", written(tmp_path, ad_hoc()), "-o", "json").json
    run_to_the_end(redis_url, accepted["id"])
    dead = cli("flows", "show", accepted["id"], "--watch")
    assert (dead.code, "stage_failed" in dead.err) == (1, True)
    assert "✗ read dead  3: " in dead.out
    assert "read:1: cannot be read" in dead.out
    assert cli("flows", "retry", accepted["id"]).code == 0
    refused = cli("flows", "retry", accepted["id"])
    assert (refused.code, "not run again" in refused.err) == (2, True)
    Act.failing = set()
    run_to_the_end(redis_url, accepted["id"])
    assert cli("flows", "show", accepted["id"], "--watch").code == 0


def test_a_flow_is_cancelled_and_what_is_none_is_an_error(
    cli: Cli,
    redis_url: str,
    tmp_path: Path,
) -> None:
    on(redis_url, publish)
    flow_id = cli("flows", "submit", written(tmp_path, ad_hoc())).out.strip()
    assert cli("flows", "cancel", flow_id, "--reason", "no", "-o", "json").json == {
        flow_id: "cancelled"
    }
    again = cli("flows", "cancel", flow_id)
    assert (again.code, "not stopped" in again.err) == (2, True)
    job_id = cli("submit", "list-pages", '{"count": 1}').out.strip()
    for command in ("show", "cancel", "retry"):
        wrong = cli("flows", command, job_id)
        assert (wrong.code, f"there is no flow {job_id}" in wrong.err) == (2, True)
    assert cli("status", job_id, "-o", "json").json["state"] == "waiting"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "either the name of a flow, or its stages"),
        ({"name": "nowhere"}, "no worker has published a flow nowhere"),
        ({"name": "weekly", "input": {"count": "x"}}, "`$.input.count`"),
        ({"stages": [{"name": "a"}]}, "`$.stages[0].processor`"),
    ],
)
def test_a_flow_that_cannot_be_is_refused(
    cli: Cli,
    redis_url: str,
    tmp_path: Path,
    body: Any,
    why: str,
) -> None:
    on(redis_url, publish)
    refused = cli("flows", "submit", written(tmp_path, body))
    assert (refused.code, why in refused.err) == (2, True), refused.err
    assert cli("flows", "submit", "nowhere.json").code == 2


def test_a_flow_that_is_waited_for_in_vain_is_exit_code_4(
    cli: Cli,
    redis_url: str,
    tmp_path: Path,
) -> None:
    on(redis_url, publish)
    file = written(tmp_path, ad_hoc())
    assert cli("flows", "submit", file, "--wait", "--timeout", "0.05").code == 4


def test_named_flows_are_listed(cli: Cli, redis_url: str) -> None:
    assert cli("flows", "named", "-o", "json").json == []
    on(redis_url, publish)
    assert "list read join" in cli("flows", "named").out
    accepted = cli("submit", "weekly", '{"count": 1}', "-o", "json").json
    assert cli("flows", "show", accepted["id"], "-o", "json").json["name"] == "weekly"
