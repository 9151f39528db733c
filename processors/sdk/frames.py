"""What worker and child process say to each other: length, then one msgpack value.

The worker sends a `Request`; the child answers with any number of `Line` and `Progress`, then one
`Succeeded` or `Failed`, and waits for the next request. The end of the stream ends the child.
"""

import msgspec

from processors.sdk.declaration import InvalidResult, Origin
from streams.errors import Crashed, InvalidInput, Rejected, Retry, TooLarge, Trouble
from streams.model import Lease

HEADER_BYTES = 4
FRAME_MARGIN_BYTES = 64 * 1024  # what a frame may have beyond a result
LINE_MAX_BYTES = 32 * 1024
MESSAGE_MAX = 2_000


class ChildSettings(msgspec.Struct, frozen=True):
    """What a child process is told on its command line."""

    socket: int  # file descriptor of the frames
    life: int  # file descriptor of the pipe whose end means that the worker is gone
    files_max: int
    memory_max_bytes: int
    result_max_bytes: int


class Request(msgspec.Struct, frozen=True, tag="request"):
    """Run one attempt."""

    origin: Origin
    lease: Lease
    payload: bytes
    started_ms: int
    timeout_s: float
    remaining_s: float


class Line(msgspec.Struct, frozen=True, tag="line"):
    """A line of the attempt's log."""

    level: str
    message: str
    fields: dict[str, object]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far the attempt is."""

    fraction: float | None
    note: str


class Succeeded(msgspec.Struct, frozen=True, tag="succeeded"):
    """The attempt's result, JSON."""

    result: bytes


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The attempt's exception, with what the engine judges by."""

    kind: str
    code: str
    message: str
    trace: str = ""
    path: str = "$"
    after_s: float | None = None
    uses_attempt: bool = True


Answer = Line | Progress | Succeeded | Failed

request_decoder = msgspec.msgpack.Decoder(Request)
answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder(enc_hook=repr)


class Raised(Trouble):
    """A processor raised an exception of its own in a child process; the message names it."""

    code = "processor_failed"


KINDS: dict[str, type[Trouble]] = {
    "invalid_result": InvalidResult,
    "too_large": TooLarge,
    "rejected": Rejected,
    "crashed": Crashed,
}


def frame(value: Request | Answer) -> bytes:
    """`value` as it goes over the wire."""
    body = _encoder.encode(value)
    return len(body).to_bytes(HEADER_BYTES) + body


def line_frame(line: Line) -> bytes:
    """A log line as it goes over the wire, without its fields when those are too many bytes."""
    framed = frame(line)
    if len(framed) <= LINE_MAX_BYTES:
        return framed
    dropped: dict[str, object] = {"fields_dropped_bytes": len(framed)}
    return frame(Line(line.level, line.message[:MESSAGE_MAX], dropped))


def failed(error: BaseException, trace: str) -> Failed:
    """`error` as a value that survives the way to the worker."""
    message = str(error)[:MESSAGE_MAX]
    match error:
        case InvalidInput():
            return Failed("invalid_input", error.code, message, trace, path=error.path)
        case Retry():
            return Failed(
                "retry",
                error.code,
                message,
                trace,
                after_s=error.after_s,
                uses_attempt=error.uses_attempt,
            )
    for kind, of_type in KINDS.items():
        if isinstance(error, of_type):
            return Failed(kind, of_type.code if kind == "crashed" else error.code, message, trace)
    name = type(error).__name__
    return Failed("raised", "", f"{name}: {message}" if message else name, trace)


def exception(answer: Failed) -> Trouble:
    """The exception that `answer` stands for, with the child's traceback as a note."""
    error: Trouble
    match answer.kind:
        case "invalid_input":
            error = InvalidInput(answer.message, answer.path)
        case "retry":
            error = Retry(answer.message, after_s=answer.after_s, uses_attempt=answer.uses_attempt)
        case kind:
            error = KINDS.get(kind, Raised)(answer.message)
    if answer.code:
        error.code = answer.code
    if answer.trace:
        error.add_note(answer.trace)
    return error
