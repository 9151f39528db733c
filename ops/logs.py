"""Logs: one JSON object per line, or readable lines on a terminal; never a key or a secret."""

import logging
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

import msgspec
from mode import Service
from rich.console import Console

from gateway.acceptance import EACH
from gateway.redaction import redact
from ops.settings import LogSettings
from streams.attempt import HELD
from streams.errors import ConfigError
from streams.keyspace import FLOW
from streams.model import Again, Dead, Done, HandedBack, Lease, Parked, Stopped
from streams.telemetry import (
    AgentTold,
    AttemptJudged,
    AttemptLog,
    AttemptStarted,
    ChangedNothing,
    ChoreFailed,
    Happening,
    LeaseGone,
    LinkChanged,
)
from streams.trace import trace_id

OWN_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
LOUD = ("faust", "mode", "httpx", "httpcore", "asyncio", "uvicorn")  # theirs from warning up
MUTE = "mode.timers"  # it says of each chore that waits for Redis that it is late, each second
LEVEL_WIDTH = 7
CHORE_AGAIN_S = 60.0  # a chore that fails at each tick is told of once in so long
COLOURS = {logging.DEBUG: 2, logging.INFO: 32, logging.WARNING: 33, logging.ERROR: 31}


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every logger's records to the settings' file, else to `stream` or standard error.

    Replaces what was set. Raises ConfigError when the file cannot be written.
    """
    target = None if settings.file else stream or sys.stderr
    on_terminal = target is not None and target.isatty()
    as_text = settings.format == "text" or (settings.format == "auto" and on_terminal)
    handler = logging.StreamHandler(target) if target else _opened(settings.file)
    handler.addFilter(name_attempt)
    colours = target is not None and in_colour(target)
    handler.setFormatter(TextFormatter(colours) if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    quiet = max(root.level, logging.WARNING) if settings.level != "debug" else logging.INFO
    for name in LOUD:
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger(MUTE).setLevel(max(quiet, logging.ERROR))
    logging.captureWarnings(True)
    Service.mundane_level = "debug"  # "Starting..." of every part


def in_colour(target: TextIO) -> bool:
    """Whether colours may be written: a terminal that has them, and nobody who minds (NO_COLOR)."""
    screen = Console(file=target)
    return screen.is_terminal and screen.color_system is not None and not screen.no_color


def name_attempt(record: logging.LogRecord) -> bool:
    """Give a line that was written under a lease the job's ids: that of a library, say."""
    lease = HELD.get()
    if lease is not None and not hasattr(record, "job_id"):
        record.__dict__.update(ids_of(lease))
    return True


def ids_of(lease: Lease) -> dict[str, object]:
    """Whose attempt it is, by the names that all lines use."""
    lane = lease.lane
    return {
        "job_id": lease.job_id,
        **({"flow": lease.flow or lease.job_id} if lease.flow or lane.processor == FLOW else {}),
        **({"stage": lease.stage} if lease.stage else {}),
        "app": lane.app,
        "processor": lane.processor,
        "attempt": lease.attempt,
        **({"trace_id": trace_id(lease.trace)} if lease.trace else {}),
    }


def _opened(file: str) -> logging.Handler:
    try:
        return WatchedFileHandler(Path(file).expanduser(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"log.file: {error}") from error


_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, then the record's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or lines, without the last end."""
        head = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        own, each = _fields(record)
        if record.exc_info:
            own["error"] = self.formatException(record.exc_info)
        line = _encode({**head, **own})
        if each:
            line = b"\n".join([line[:-1] + b"," + _encode(fields)[1:] for fields in each])
        return redact(line.decode())


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, fields; then the traceback, if any."""

    def __init__(self, colour: bool = False) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """The lines, without the last end."""
        at = _moment(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = self._painted(f"{record.levelname.lower():{LEVEL_WIDTH}}", record.levelno)
        head = f"{self._painted(at)} {level} {record.getMessage()}"
        own, each = _fields(record)
        lines = []
        for fields in each or ({},):
            said = " ".join(f"{name}={_short(value)}" for name, value in (own | fields).items())
            lines.append(f"{head}  {self._painted(said)}" if said else head)
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return redact("\n".join(lines))

    def _painted(self, text: str, level: int = logging.DEBUG) -> str:
        """In the colour of a level; what is said at no level stands back."""
        code = COLOURS.get(level) if self._colour else None
        return f"\x1b[{code}m{text}\x1b[0m" if code else text


class AttemptLines:
    """Listens to a worker's telemetry and writes the lines that an operator would ask for."""

    def __init__(self, log: logging.Logger | None = None) -> None:
        self._log = log or logging.getLogger("roughneck.worker")
        self._told: dict[str, float] = {}  # chore → when its failure was written last

    @property
    def kinds(self) -> list[type[Happening]]:
        """What has a line at the level that is written."""
        starts = self._log.isEnabledFor(logging.DEBUG)
        kinds = (AttemptJudged, AttemptLog, AgentTold, LeaseGone, ChangedNothing, LinkChanged)
        return [*kinds, ChoreFailed, *([AttemptStarted] if starts else [])]

    def __call__(self, happening: Happening) -> None:
        """Write the line of one happening, if it has one."""
        match happening:
            case AttemptJudged(lease, verdict, took_s):
                if type(verdict) is Done and not self._log.isEnabledFor(logging.INFO):
                    return  # most are like this
                level, message, fields = _judged(verdict)
                if self._log.isEnabledFor(level):
                    self._write(level, message, lease, took_s=round(took_s, 3), **fields)
            case ChangedNothing(job_id, answer):
                fields = {"job_id": job_id, "answer": str(answer)}
                self._log.info("the verdict changed nothing", extra=fields)
            case AttemptStarted(lease):
                self._write(logging.DEBUG, "attempt started", lease)
            case AttemptLog(lease, level, message, fields):
                named = {f"field_{key}": value for key, value in fields.items()}
                self._write(logging.getLevelName(level.upper()), message, lease, **named)
            case AgentTold(agent, level, message, fields):
                named = {f"field_{key}": value for key, value in fields.items()}
                at = logging.getLevelName(level.upper())
                self._log.log(at, message, extra={"agent": agent, **named})
            case LeaseGone(lease):
                self._write(logging.WARNING, "the lease was lost", lease)
            case LinkChanged(up, reason):
                self._link(up, reason)
            case ChoreFailed(chore, error):
                self._chore(chore, error)

    def _chore(self, chore: str, error: str) -> None:
        now = time.monotonic()
        if now - self._told.get(chore, -CHORE_AGAIN_S) >= CHORE_AGAIN_S:
            self._told[chore] = now
            self._log.warning("a chore failed", extra={"chore": chore, "reason": error})

    def _link(self, up: bool, reason: str) -> None:
        if up:
            self._log.info("the link to Redis is back")
        else:
            self._log.warning("the link to Redis is lost", extra={"reason": reason})

    def _write(self, level: int, message: str, lease: Lease, **fields: object) -> None:
        self._log.log(level, message, extra={**ids_of(lease), **fields})


def _judged(verdict: object) -> tuple[int, str, dict[str, Any]]:
    match verdict:
        case Done(result):
            return logging.INFO, "attempt succeeded", {"result_bytes": len(result)}
        case Again(delay_ms, fault, _):
            reason = {"code": fault.code, "reason": fault.message, "again_in_ms": delay_ms}
            return logging.INFO, "attempt failed, another follows", reason
        case Dead(fault):
            reason = {"code": fault.code, "reason": fault.message}
            return logging.WARNING, "attempt failed, no other follows", reason
        case Stopped(reason):
            return logging.INFO, "attempt cancelled", {"reason": reason}
        case HandedBack():
            return logging.INFO, "attempt handed back", {}
        case Parked():
            return logging.INFO, "the flow's stages are stored; it ends when they have", {}
    return logging.DEBUG, "attempt ended", {}


def _fields(record: logging.LogRecord) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What a record says beside its message, and what each of its lines does if it has several."""
    own = {name: value for name, value in record.__dict__.items() if name not in OWN_ATTRIBUTES}
    return own, own.pop(EACH, [])


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _short(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text
