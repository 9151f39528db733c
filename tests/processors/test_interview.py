"""The loop around an answer: read strictly, check, mend once, ask anew once, give up clearly."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from processors.dependencies.asking import Degenerate, Purpose, Usage
from processors.sdk import (
    AnswerCut,
    AnswerUnfit,
    Context,
    Form,
    Interview,
    Manifest,
    Meta,
    ResourceClass,
    processor,
)
from processors.sdk.testing import Ending, ScriptedOllama, run_processor
from streams.errors import Rejected


class Number(msgspec.Struct):
    n: int


FORM = Form(name="number", answer=Number, role="You count.", rules=())


class Given(msgspec.Struct):
    text: str


class Out(msgspec.Struct):
    n: int
    meta: Meta


def even(value: Number) -> list[str]:
    return [f"{value.n} is odd"] if value.n % 2 else []


@processor(
    Manifest(
        name="counter",
        version="1",
        summary="Counts.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="gen",
        prompt_version="7",
    )
)
async def count(given: Given, context: Context) -> Out:
    interview = Interview(context, "7")
    found = await interview.ask(FORM, {"TEXT": given.text}, even)
    return Out(found.n, interview.meta)


async def run(model: ScriptedOllama) -> Ending:
    return await run_processor(count, {"text": "two"}, ollama=model)


def purposes(model: ScriptedOllama) -> Sequence[str]:
    return [ask.purpose for ask in model.asked]


async def test_a_good_answer_needs_one_call_and_the_result_says_how_it_came_about() -> None:
    model = ScriptedOllama('{"n": 2}')
    result: Any = (await run(model)).result
    asked = model.asked[0]
    assert (asked.temperature, asked.options, asked.format) == (0, {"top_k": 1}, FORM.format)
    assert result["n"] == 2
    assert result["meta"] == {
        "model": "scripted",
        "digest": "0",
        "prompt_version": "7",
        "seed": asked.seed,
        "options": {"seed": asked.seed},
        "calls": 1,
        "repairs": 0,
        "refusals": 0,
        "usage": msgspec.to_builtins(Usage(prompt_tokens=10, completion_tokens=1)),
    }


@pytest.mark.parametrize("bad", ['{"n": 3}', '{"n": "3"}', '{"n": 3', "no"])
async def test_a_faulty_answer_is_sent_back_with_its_faults(bad: str) -> None:
    model = ScriptedOllama(bad, '{"n": 4}')
    ending = await run(model)
    result: Any = ending.result
    assert (result["n"], result["meta"]["repairs"], result["meta"]["refusals"]) == (4, 1, 1)
    assert result["meta"]["usage"]["prompt_tokens"] == 20
    roles = [turn.role for turn in model.asked[1].turns]
    assert roles == ["system", "user", "assistant", "user"]
    assert model.asked[1].turns[2].content == bad
    assert ending.lines[0].fields["answer"] == bad
    assert str(ending.lines[0].fields["faults"]) in model.asked[1].turns[3].content


async def test_then_it_is_asked_anew_with_another_seed() -> None:
    model = ScriptedOllama("no", "no", '{"n": 6}')
    result: Any = (await run(model)).result
    assert result["n"] == 6
    assert purposes(model) == [Purpose.QUESTION, Purpose.REPAIR, Purpose.ANEW]
    question, _, anew = model.asked
    assert (anew.turns, anew.seed) == (question.turns, (question.seed or 0) + 1)
    assert anew.temperature > 0


async def test_in_the_end_it_fails_and_what_the_model_said_is_kept() -> None:
    ending = await run(ScriptedOllama('{"n": 1}', '{"n": 3}', '{"n": 5}'))
    assert isinstance(ending.error, AnswerUnfit)
    assert str(ending.error) == "number: 5 is odd"
    assert [line.fields["answer"] for line in ending.lines] == ['{"n": 1}', '{"n": 3}', '{"n": 5}']


async def test_an_answer_that_was_cut_off_is_not_mended() -> None:
    model = ScriptedOllama('{"n": |length')
    ending = await run(model)
    assert isinstance(ending.error, AnswerCut)
    assert len(model.asked) == 1


async def test_a_repair_that_the_model_cannot_take_is_skipped() -> None:
    model = ScriptedOllama("no", Rejected("too long"), '{"n": 8}')
    assert (await run(model)).result
    assert purposes(model)[-1] == Purpose.ANEW


async def test_a_model_that_went_round_in_circles_is_asked_anew() -> None:
    model = ScriptedOllama(Degenerate("it repeats itself"), '{"n": 8}')
    assert (await run(model)).result
    assert purposes(model) == [Purpose.QUESTION, Purpose.ANEW]
