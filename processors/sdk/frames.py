"""What worker and child process say to each other: length, then one msgpack value.

The worker sends a `Request`; the child answers with any number of `Line`, `Progress` and `Said`,
then one `Succeeded` or `Failed`, and waits for the next request. The end of the stream ends the
child.
"""

import msgspec

from processors.sdk.declaration import InvalidResult, Origin
from streams.errors import Crashed, InvalidInput, Rejected, Retry, TooLarge, Trouble, Unavailable
from streams.model import Lease

HEADER_BYTES = 4
FRAME_MARGIN_BYTES = 64 * 1024  # what a frame may have beyond a result
LINE_MAX_BYTES = 32 * 1024
MESSAGE_MAX = 2_000
PIECE_MAX = 4_096  # characters of one frame


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


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A piece of text that is ready before the rest."""

    piece: str


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


Answer = Line | Progress | Said | Succeeded | Failed

request_decoder = msgspec.msgpack.Decoder(Request)
answer_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_encoder = msgspec.msgpack.Encoder(enc_hook=repr)


class Raised(Trouble):
    """A processor raised an exception of its own in a child process; the message names it."""

    code = "processor_failed"


# What the engine tells apart; a subclass stands before its base.
KINDS: dict[str, type[Trouble]] = {
    "invalid_input": InvalidInput,
    "invalid_result": InvalidResult,
    "too_large": TooLarge,
    "rejected": Rejected,
    "retry": Retry,
    "unavailable": Unavailable,
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
    if not isinstance(error, Trouble):
        name = type(error).__name__
        return Failed("raised", Raised.code, f"{name}: {message}" if message else name, trace)
    kind = next((kind for kind, of_type in KINDS.items() if isinstance(error, of_type)), "raised")
    return Failed(
        kind,
        error.code,
        message,
        trace,
        path=error.path if isinstance(error, InvalidInput) else "$",
        after_s=error.after_s if isinstance(error, Retry | Unavailable) else None,
        uses_attempt=not isinstance(error, Retry) or error.uses_attempt,
    )


def exception(answer: Failed) -> Trouble:
    """The exception that `answer` stands for, with the child's traceback as a note."""
    error = KINDS.get(answer.kind, Raised)(answer.message)
    match error:
        case InvalidInput():
            error.path = answer.path
        case Retry():
            error.after_s, error.uses_attempt = answer.after_s, answer.uses_attempt
        case Unavailable() if answer.after_s is not None:
            error.after_s = answer.after_s
    error.code = answer.code
    if answer.trace:
        error.add_note(answer.trace)
    return error
