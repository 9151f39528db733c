"""Every sample that ships fits the schema of its processor, and does what its name says."""

import asyncio
import json
from pathlib import Path

import jsonschema_rs
import pytest

import processors.builtin
from processors.builtin.echo import EchoIn, Failure, echo
from processors.sdk.registry import Registry
from processors.sdk.testing import run_processor
from tests.processors.support import fixture_attempt, processor_of, running_host

SAMPLES = Path(processors.builtin.__file__).parent / "samples"
FILES = sorted(SAMPLES.glob("*/*.json"))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_sample_is_accepted_by_its_schema_and_by_its_type(file, registry):
    found = registry.get(file.parent.name)
    assert found is not None, f"no processor is named {file.parent.name}"
    schema = jsonschema_rs.validator_for(json.loads(found.input_schema))
    schema.validate(json.loads(file.read_bytes()))
    assert found.decode(file.read_bytes()) is not None


def test_echo_has_a_sample_of_every_way_to_fail():
    failures = {
        json.loads(file.read_bytes()).get("fail", "none")
        for file in FILES
        if file.parent.name == "echo"
    }
    assert failures == set(Failure.__args__)


def test_echo_refuses_what_its_schema_refuses():
    schema = jsonschema_rs.validator_for(json.loads(processor_of(echo).input_schema))
    for wrong in ({}, {"message": 1}, {"message": "", "delay_ms": -1}, {"message": "", "else": 1}):
        assert not schema.is_valid(wrong)
        with pytest.raises(Exception, match=r"Object missing|Expected|unknown field"):
            processor_of(echo).decode(json.dumps(wrong).encode())


async def test_echo_reports_each_step():
    ending = await run_processor(echo, EchoIn("hej", progress_steps=4))
    assert [step.fraction for step in ending.progress] == [0.25, 0.5, 0.75, 1.0]


async def test_echo_that_fails_once_succeeds_the_second_time():
    payload = json.loads((SAMPLES / "echo" / "transient.json").read_bytes())
    assert (await run_processor(echo, payload, attempt=1)).error is not None
    assert (await run_processor(echo, payload, attempt=2)).result["attempt"] == 2


async def test_the_plain_sample_runs_in_a_child():
    async with running_host() as host, asyncio.timeout(20):
        raw = await host.run(fixture_attempt("echo", (SAMPLES / "echo/plain.json").read_bytes()))
    assert json.loads(raw)["message"] == "Hej fra Vejle"
