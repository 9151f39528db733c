"""Every sample that ships fits the schema of its processor, and does what its name says."""

import asyncio
import json

import jsonschema_rs
import msgspec
import pytest

from processors.builtin.echo import EchoIn, Failure, echo
from processors.sdk.testing import run_processor
from streams.errors import InvalidInput
from tests.processors.shipped import FILES, SAMPLES, name_of, shipped
from tests.processors.support import fixture_attempt, processor_of, running_host

OPEN = frozenset({"cnc-pattern-name"})  # take what a stage before them may say in addition
ANYTHING = frozenset({"format"})  # fields that take any JSON
MUTANTS_MAX = 40


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_sample_is_accepted_by_its_schema_and_by_its_type(file):
    cast, sample = shipped(file)
    jsonschema_rs.validator_for(schema_of(cast)).validate(json.loads(sample.payload))
    cast.check(sample.payload)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_sample_with_a_field_of_the_wrong_type_or_a_name_too_many_is_refused(file):
    cast, sample = shipped(file)
    schema = jsonschema_rs.validator_for(schema_of(cast))
    given = json.loads(sample.payload)
    for mutant in mutants(given, closed=cast.name not in OPEN):
        raw = json.dumps(mutant).encode()
        with pytest.raises(InvalidInput):
            cast.check(raw)
        assert not schema.is_valid(mutant), mutant


def schema_of(cast):
    wanted = cast.flow.input if cast.flow else cast.processors[0].input_type
    return msgspec.json.schema(wanted)


def mutants(given, *, closed):
    """The sample with each field replaced by what is never allowed; an unknown one at the top."""
    for name in list(given)[:MUTANTS_MAX]:
        if name not in ANYTHING:
            yield {**given, name: {"no": ["such", "thing"]}}
    if closed:
        yield {**given, "no_such_field": 1}


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
