"""The audit log: what operators did, who, from where, to what. Ids only, never a payload.

Kept as a chain of lines (`gateway.chain`); `roughneck audit verify` checks it.
"""

import asyncio
import logging
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from mode import Service

from gateway.chain import Chain
from gateway.redaction import redact
from gateway.settings import GatewaySettings
from streams.clock import Clock, SystemClock
from streams.errors import ConfigError

log = logging.getLogger(__name__)

WAITING_MAX = 10_000  # lines that wait for the disk; beyond it they go to the log instead
TEXT_MAX = 300  # characters of a value
AGAIN_S = 1.0  # after a write that failed
GROUP_MAX = 500  # lines written at once
STOP_S = 5.0  # for the write under way when the process stops

Record = dict[str, object]


class AuditLog(Service):
    """Writes lines in the background, each within moments; `write` never waits.

    Without a path nothing is kept. A line that cannot be written goes to the log.
    """

    def __init__(self, path: Path | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self._chain = Chain(path) if path else None
        self._clock = clock or SystemClock()
        self._waiting: deque[Record] = deque()
        self._arrived = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None

    def write(self, action: str, *, key_id: str, app: str, subject: str, **fields: object) -> None:
        """Note that the key `key_id` of `app` did `action` to `subject`."""
        if self._chain is None:
            return
        at_ms = self._clock.now_ms()
        record = entry(action, at_ms, key=key_id, app=app, subject=subject, **fields)
        if len(self._waiting) >= WAITING_MAX:
            log.error("audit line is not kept: the disk is too slow", extra={"line": record})
            return
        self._waiting.append(record)
        self._arrived.set()

    async def on_start(self) -> None:
        """Raises ConfigError when the file cannot be written."""
        if self._chain is None:
            return
        try:
            await asyncio.to_thread(self._chain.append, [])
        except OSError as error:
            place = f"{self._chain.path}: {error.strerror}"
            raise ConfigError(f"the audit log cannot be written: {place}") from error

    async def on_started(self) -> None:
        """Begin to write."""
        self._writing = self.add_future(self._write_all())

    async def on_stop(self) -> None:
        """Write what waits."""
        self._arrived.set()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=STOP_S)
        while self._chain is not None and self._waiting:
            if not await self._write_group(self._chain):
                return

    async def _write_all(self) -> None:
        while self._chain is not None and not self.should_stop:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting and not self.should_stop:
                if not await self._write_group(self._chain):
                    await self.sleep(AGAIN_S)

    async def _write_group(self, chain: Chain) -> bool:
        """Write what waits now; False when that failed and it waits on."""
        group = [self._waiting[i] for i in range(min(GROUP_MAX, len(self._waiting)))]
        if not group:
            return True
        try:
            await asyncio.to_thread(chain.append, group)
        except OSError as error:
            log.exception("audit lines cannot be written", extra={"reason": error.strerror})
            return False
        for _ in group:
            self._waiting.popleft()
        return True


def path_of(settings: GatewaySettings) -> Path | None:
    """Where the audit log of this machine is kept, None where it is not."""
    return Path(settings.audit_file).expanduser() if settings.audit_file else None


def entry(action: str, at_ms: int, **fields: object) -> Record:
    """One line's fields: texts bounded, nothing secret, nothing empty."""
    at = datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")
    given = {name: _bounded(value) for name, value in fields.items()}
    kept = {name: value for name, value in given.items() if value not in ("", None)}
    return {"time": at.replace("+00:00", "Z"), "action": action, **kept}


def _bounded(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(name)[:TEXT_MAX]: _bounded(one) for name, one in list(value.items())[:100]}
    if isinstance(value, list | tuple):
        return [_bounded(one) for one in value[:100]]
    return redact(str(value))[:TEXT_MAX]
