"""`cache`: a small memory of this process, for answers that are worth keeping a few minutes.

Every processor has keys of its own. A cpu processor's cache lives in its child process and goes
with it, so a cached value may save work but must never be needed.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from processors.dependencies import Attempt
from streams.model import ResourceClass

ENTRIES_MAX = 1_024
TTL_S = 300.0


class Store:
    """Values by key until they expire or are the longest unused of too many. Thread-safe."""

    def __init__(
        self, entries_max: int = ENTRIES_MAX, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Holds at most `entries_max` values."""
        self._entries_max = entries_max
        self._monotonic = monotonic
        self._entries: OrderedDict[tuple[str, str], tuple[float, object]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str]) -> object | None:
        """The value put last, or None when there is none or it expired."""
        with self._lock:
            expires, value = self._entries.get(key, (0.0, None))
            if expires <= self._monotonic():
                self._entries.pop(key, None)
                return None
            self._entries.move_to_end(key)
            return value

    def put(self, key: tuple[str, str], value: object, ttl_s: float) -> None:
        """Keep `value` for `ttl_s` seconds, unless room is needed before."""
        with self._lock:
            self._entries[key] = (self._monotonic() + ttl_s, value)
            self._entries.move_to_end(key)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)


class Cache:
    """One processor's part of the store."""

    def __init__(self, store: Store, processor: str) -> None:
        """Reads and writes `processor`'s keys in `store`."""
        self._store = store
        self._processor = processor

    def get(self, key: str) -> object | None:
        """The value put last under `key`, or None when there is none or it expired."""
        return self._store.get((self._processor, key))

    def put(self, key: str, value: object, *, ttl_s: float = TTL_S) -> None:
        """Keep `value` for `ttl_s` seconds at most. It is not copied: do not change it later."""
        self._store.put((self._processor, key), value, ttl_s)


class CacheProvider:
    """Gives processors their part of one store; nothing to open, always reachable."""

    name = "cache"
    classes = frozenset(ResourceClass)

    def __init__(self, store: Store | None = None) -> None:
        """Uses `store`, or one of the default size."""
        self._store = store or Store()

    async def open(self) -> None:
        """Nothing to open."""

    async def check(self) -> None:
        """Always reachable."""

    def inject(self, attempt: Attempt) -> Cache:
        """The cache of this attempt's processor, shared with its other attempts."""
        return Cache(self._store, attempt.lease.lane.processor)

    async def close(self) -> None:
        """Nothing to close."""
