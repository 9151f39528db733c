"""What a gateway knows of keys, manifests and endpoints, on disk: for a start without Redis.

Written as it comes from Redis: keys hashed, the secrets of endpoints sealed. Readable by the
gateway's user alone.
"""

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

log = logging.getLogger(__name__)

T = TypeVar("T")


class DiskCopy(Generic[T]):
    """The rows of one table in a file that is replaced whole. Both methods block."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(dict[str, kind])  # type: ignore[valid-type]
        self._written = b""

    def read(self) -> dict[str, T] | None:
        """The rows that were last written; None when there are none that can be read."""
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            extra = {"file": str(self._path), "reason": str(error)}
            log.error("the copy of a table cannot be read", extra=extra)
            return None

    def write(self, rows: Mapping[str, T]) -> None:
        """Replace the file, if anything changed. A disk that refuses is logged, not raised."""
        encoded = msgspec.json.encode(rows, order="sorted")
        if encoded == self._written:
            return
        # Two reads of a table may end together: each writes a file of its own, the last one stays.
        own = f"{os.getpid()}.{threading.get_ident()}"
        fresh = self._path.with_name(f"{self._path.name}.{own}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            extra = {"file": str(self._path), "reason": str(error)}
            log.error("the copy of a table cannot be written", extra=extra)
        else:
            self._written = encoded
