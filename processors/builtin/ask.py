"""One prompt to the local model: its answer, streamed, and what it cost."""

import time
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec

from processors.sdk import (
    Answer,
    Ask,
    Context,
    InvalidInput,
    Manifest,
    Ollama,
    ResourceClass,
    Retry,
    processor,
)

PROGRESS_EVERY_S = 0.5

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000_000)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=32_768)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]


class AskIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt. With `format`, "json" or a JSON Schema, the answer is JSON and is checked."""

    prompt: Text
    system: str = ""
    max_tokens: Tokens = 1_024
    temperature: Temperature = 0.8
    seed: int | None = None
    format: Literal["json"] | dict[str, Any] | None = None
    think: bool | None = None


class AskUsage(msgspec.Struct, frozen=True):
    """What the answer cost; `load_s` is 0 when the model was in memory."""

    prompt_tokens: int
    completion_tokens: int
    load_s: float
    eval_s: float
    tokens_per_s: float


class AskOut(msgspec.Struct, frozen=True):
    """The answer. `done_reason` length means that it was cut at `max_tokens`."""

    answer: str
    model: str
    done_reason: str
    usage: AskUsage
    parsed: Any = None  # the answer as JSON, where a format was asked for and it is whole
    thinking: str = ""


@processor(
    Manifest(
        name="ask",
        version="1",
        summary="Ask the local model one prompt; answer and usage.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="gen",
        timeout_s=300,
        backoff_s=5,
    )
)
async def ask(given: AskIn, context: Context) -> AskOut:
    """Answer one prompt; a prompt that the model could not read whole is rejected."""
    check = _check_of(given.format)
    ollama: Ollama = context.ollama
    answer = await _answer(ollama, _question(given), context)
    whole = answer.done_reason != "length"
    return AskOut(
        answer=answer.text,
        model=answer.model,
        done_reason=answer.done_reason,
        usage=_usage(answer),
        parsed=_parsed(answer.text, check) if given.format is not None and whole else None,
        thinking=answer.thinking,
    )


def _question(given: AskIn) -> Ask:
    return Ask.of(
        given.prompt,
        given.system,
        max_tokens=given.max_tokens,
        temperature=given.temperature,
        seed=given.seed,
        format=given.format,
        think=given.think,
    )


async def _answer(ollama: Ollama, question: Ask, context: Context) -> Answer:
    """Read the stream, saying now and then how far it is."""
    said, due = 0, 0.0
    async with ollama.stream(question) as answering:
        async for piece in answering:
            said += len(piece)
            context.emit(piece)
            if time.monotonic() >= due:
                due = time.monotonic() + PROGRESS_EVERY_S
                context.progress(None, f"{said} characters")
        return answering.answer


def _usage(answer: Answer) -> AskUsage:
    usage = answer.usage
    return AskUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        load_s=round(usage.load_s, 3),
        eval_s=round(usage.eval_s, 3),
        tokens_per_s=round(usage.tokens_per_s, 2),
    )


def _check_of(format: str | dict[str, Any] | None) -> jsonschema_rs.Validator | None:
    """A validator of the answer, None where any will do. Raises InvalidInput for a bad schema."""
    if not isinstance(format, dict):
        return None
    try:
        return jsonschema_rs.validator_for(
            format, retriever=_no_retrieval, pattern_options=jsonschema_rs.RegexOptions()
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        why = getattr(error, "message", error)
        raise InvalidInput(f"not a JSON Schema: {why}", "$.format") from error


def _parsed(text: str, check: jsonschema_rs.Validator | None) -> Any:
    """The answer as JSON; models do leave their grammar, so it is never trusted."""
    try:
        parsed = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Retry(f"the model's answer is not JSON: {error}") from error
    if check is not None and (wrong := next(check.iter_errors(parsed), None)) is not None:
        raise Retry(f"the model's answer does not fit the schema: {wrong.message}")
    return parsed


def _no_retrieval(uri: str) -> Any:
    raise ValueError(f"a schema may not refer to {uri}")
