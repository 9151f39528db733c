"""Requests as Ollama reads them, and its error texts."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ops.sim_ollama.models import SimConfig, full_name
from ops.sim_ollama.scheduler import Wanted

LOAD_TIME_OPTIONS = (
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
)
DURATION = re.compile(r"(?P<sign>-?)(?P<parts>(?:\d+(?:\.\d+)?(?:ns|us|ms|h|m|s))+)")
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|h|m|s)")
UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Problem(Exception):
    """An answer other than 200; `text` is the `error` of its body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Asked(msgspec.Struct, frozen=True):
    """One request to generate or chat."""

    route: str
    model: str  # as the client wrote it: answers repeat that
    messages: tuple[tuple[str, str], ...]  # (role, content); of generate: system and prompt
    options: Mapping[str, Any]
    format: object = None
    keep_alive_s: float | None = None
    stream: bool = True
    think: object = None
    tools: bool = False
    shift: bool = True

    @property
    def is_chat(self) -> bool:
        """Whether answers carry a message and not a response."""
        return self.route == "/api/chat"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked: the idiom for load and unload."""
        return not any(role != "system" and content for role, content in self.messages)

    def wanted(self, config: SimConfig) -> Wanted:
        """What must be in memory for it."""
        chosen = {name: self.options[name] for name in LOAD_TIME_OPTIONS if name in self.options}
        chosen["num_ctx"] = int(self.options.get("num_ctx") or config.num_ctx)
        chosen["shift"] = self.shift
        keep_alive_s = config.keep_alive_s if self.keep_alive_s is None else self.keep_alive_s
        return Wanted(full_name(self.model), tuple(sorted(chosen.items())), keep_alive_s)


def parse_body(raw: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises Problem 400."""
    if not raw:
        raise Problem(400, "missing request body")
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise Problem(400, f"invalid character in request body: {error}") from error
    if not isinstance(body, dict):
        raise Problem(400, "json: cannot unmarshal value into Go value of type api.Request")
    return body


def parse_asked(route: str, body: Mapping[str, Any]) -> Asked:
    """A request to generate or chat. Raises Problem 400 for what Ollama refuses to read."""
    model = _text(body, "model")
    if route == "/api/chat" and not model:
        raise Problem(400, "model is required")
    return Asked(
        route=route,
        model=model,
        messages=_messages(body) if route == "/api/chat" else _prompt(body),
        options=body.get("options") or {},
        format=_format(body.get("format")),
        keep_alive_s=parse_keep_alive(body.get("keep_alive")),
        stream=body.get("stream") is not False,
        think=body.get("think"),
        tools=bool(body.get("tools")),
        shift=body.get("shift") is not False,
    )


def parse_keep_alive(value: object) -> float | None:
    """Seconds from a number or a Go duration; negative means for ever. Raises Problem 400."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -1.0 if value < 0 else float(value)
    match = DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Problem(400, f'time: invalid duration "{value}"')
    seconds = sum(
        float(number) * UNIT_S[unit] for number, unit in DURATION_PART.findall(match["parts"])
    )
    return -1.0 if match["sign"] and seconds else seconds


def _messages(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    messages = body.get("messages") or ()
    if not isinstance(messages, list | tuple) or not all(isinstance(m, dict) for m in messages):
        raise Problem(400, "json: cannot unmarshal messages into api.ChatRequest")
    return tuple((str(m.get("role", "")), str(m.get("content") or "")) for m in messages)


def _prompt(body: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    system, prompt = _text(body, "system"), _text(body, "prompt")
    spoken = [("system", system)] if system else []
    return (*spoken, ("user", prompt)) if prompt else tuple(spoken)


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise Problem(400, f"json: cannot unmarshal value into field {name} of type string")
    return value


def _format(value: object) -> object:
    if value in (None, ""):
        return None
    if value == "json" or isinstance(value, dict):
        return value
    raise Problem(400, f'invalid format: "{value}"; expected "json" or a valid JSON Schema object')
