"""One request to generate or chat, from arrival to the last line."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ops.sim_ollama.clock import ScaledClock, timestamp
from ops.sim_ollama.faults import Faults, Kind
from ops.sim_ollama.log import Visit
from ops.sim_ollama.models import ModelSpec, SimConfig, full_name
from ops.sim_ollama.scheduler import Busy, LoadFailed, Runner, Scheduler
from ops.sim_ollama.text import THOUGHT, pieces, prompt_tokens, reply
from ops.sim_ollama.wire import Asked, Problem

CONTEXTS_GENERATED_MAX = 10  # num_predict -1 ends at ten times num_ctx
RUNNER_ERROR = "an error was encountered while running the model: "

Line = dict[str, Any] | bytes


class Cut(Exception):
    """The connection is to be cut in the middle of the answer."""


class Spoken(msgspec.Struct, frozen=True):
    """What will be said, in tokens."""

    thinking: list[str]
    content: list[str]
    done_reason: str

    @property
    def count(self) -> int:
        """All tokens, thoughts included."""
        return len(self.thinking) + len(self.content)


class Answerer:
    """Plays the models: waits as long as they would, and says what they would."""

    def __init__(self, config: SimConfig, clock: ScaledClock, scheduler: Scheduler) -> None:
        self._config = config
        self._clock = clock
        self._scheduler = scheduler
        self._answers = deque(config.answers)

    async def lines(self, asked: Asked, faults: Faults, visit: Visit) -> AsyncIterator[Line]:
        """The lines of the answer as they become due. Raises Problem, or Cut.

        Closing it frees the model, and aborts a load that it waits for.
        """
        arrived = self._clock.now()
        spec = self._check(asked, faults)
        wanted = asked.wanted(self._config)
        if asked.is_empty and wanted.keep_alive_s == 0:
            self._scheduler.expire(wanted.model)
            yield _last(asked, "unload")
            return
        try:
            async with self._scheduler.runner(wanted, faults) as runner:
                if asked.is_empty:
                    yield _last(asked, "load")
                    return
                async with runner.slots:
                    async for line in self._speak(asked, faults, (visit, arrived, spec, runner)):
                        yield line
        except Busy as error:
            raise Problem(503, str(error)) from error
        except LoadFailed as error:
            raise Problem(500, str(error)) from error

    def _check(self, asked: Asked, faults: Faults) -> ModelSpec:
        spec = self._config.models.get(full_name(asked.model))
        if spec is None or Kind.NOT_FOUND in faults:
            raise Problem(404, f"model '{asked.model}' not found")
        if Kind.BUSY in faults:
            raise Problem(503, "server busy, please try again.  maximum pending requests exceeded")
        verb = "chat" if asked.is_chat else "generate"
        if "completion" not in spec.capabilities:
            raise Problem(400, f'"{asked.model}" does not support {verb}')
        if asked.tools and "tools" not in spec.capabilities:
            raise Problem(400, f'"{asked.model}" does not support tools')
        if asked.think and "thinking" not in spec.capabilities:
            raise Problem(400, f'"{asked.model}" does not support thinking')
        return spec

    async def _speak(
        self, asked: Asked, faults: Faults, setting: tuple[Visit, float, ModelSpec, Runner]
    ) -> AsyncIterator[Line]:
        visit, arrived, spec, runner = setting
        load_s = self._clock.now() - arrived
        spoken = self._spoken(asked, faults, visit.number, spec)
        num_ctx, size = runner.wanted.num_ctx, self._config.bytes_per_token
        evaluated = prompt_tokens(asked, num_ctx, size)
        await self._evaluate(evaluated / spec.prompt_tokens_per_s, faults)
        began = self._clock.now()
        pace_s = self._pace_s(spec, faults)
        tokens = [("thinking", t) for t in spoken.thinking] + [("text", t) for t in spoken.content]
        for index, (part, token) in enumerate(tokens):
            for line in await self._misbehave(index, faults, runner):
                yield line
            if faults.due(Kind.NO_DONE, index):
                return
            await self._clock.sleep_until(began + (index + 1) * pace_s)
            visit.chunks += 1
            yield _chunk(asked, part, token)
        timing = (load_s, evaluated, evaluated / spec.prompt_tokens_per_s)
        yield _last(asked, spoken.done_reason, _counters(*timing, spoken.count, pace_s))

    def _spoken(self, asked: Asked, faults: Faults, number: int, spec: ModelSpec) -> Spoken:
        constrained = Kind.SCHEMA_IGNORED not in faults
        ordered = self._answers.popleft() if self._answers else None
        text = ordered or reply(asked, self._config, number, constrained=constrained)
        thinks = "thinking" in spec.capabilities and asked.think is not False
        thinking, content = pieces(THOUGHT) if thinks else [], pieces(text)
        num_ctx = asked.wanted(self._config).num_ctx
        most = int(asked.options.get("num_predict", -1))
        most = most if most > 0 else CONTEXTS_GENERATED_MAX * num_ctx
        if Kind.CUT_JSON in faults:
            most = len(thinking) + max(1, len(content) // 2)
        cut = len(thinking) + len(content) > most
        kept = thinking[:most]
        return Spoken(kept, content[: most - len(kept)], "length" if cut else "stop")

    async def _evaluate(self, seconds: float, faults: Faults) -> None:
        if Kind.HANG_BEFORE_HEADERS in faults:
            await asyncio.Event().wait()
        slow = faults.get(Kind.SLOW_FIRST_TOKEN)
        await self._clock.sleep(seconds + (slow.arg if slow else 0.0))

    def _pace_s(self, spec: ModelSpec, faults: Faults) -> float:
        slow = faults.get(Kind.SLOW_TOKENS)
        return (slow.arg if slow else 1.0) / spec.tokens_per_s

    async def _misbehave(self, index: int, faults: Faults, runner: Runner) -> list[Line]:
        """Do what was ordered before the chunk of this index; the lines to send in its place."""
        if faults.due(Kind.HANG_MID, index):
            await asyncio.Event().wait()
        if faults.due(Kind.RESET_MID, index) or faults.due(Kind.RESTART, index):
            raise Cut
        if fault := faults.due(Kind.ERROR_LINE, index):
            raise Problem(500, RUNNER_ERROR + (fault.text or "unexpected EOF"))
        if fault := faults.due(Kind.RUNNER_CRASH, index):
            self._scheduler.crash(runner)
            raise Problem(500, RUNNER_ERROR + (fault.text or "signal: killed"))
        if faults.due(Kind.GARBAGE_LINE, index):
            return [b'{"model":"half a li\n']
        if faults.due(Kind.BLANK_LINE, index):
            return [b"\n"]
        return []


def _chunk(asked: Asked, part: str, token: str) -> dict[str, Any]:
    line: dict[str, Any] = {"model": asked.model, "created_at": timestamp()}
    thinking, text = (token, "") if part == "thinking" else ("", token)
    if asked.is_chat:
        message = {"role": "assistant", "content": text}
        line["message"] = {**message, "thinking": thinking} if thinking else message
    else:
        line["response"] = text
        if thinking:
            line["thinking"] = thinking
    return {**line, "done": False}


def _last(asked: Asked, reason: str, counters: dict[str, int] | None = None) -> dict[str, Any]:
    line = _chunk(asked, "text", "")
    return {**line, "done": True, "done_reason": reason, **(counters or {})}


def _counters(
    load_s: float, evaluated: int, evaluated_s: float, generated: int, pace_s: float
) -> dict[str, int]:
    """Nanoseconds and counts; those that are zero are left out, as Go's omitempty does."""
    generated_s = generated * pace_s
    counters = {
        "total_duration": int((load_s + evaluated_s + generated_s) * 1e9),
        "load_duration": int(load_s * 1e9),
        "prompt_eval_count": evaluated,
        "prompt_eval_duration": int(evaluated_s * 1e9),
        "eval_count": generated,
        "eval_duration": int(generated_s * 1e9),
    }
    return {name: value for name, value in counters.items() if value}
