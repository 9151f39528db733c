"""The engine's own calls, one after the other on one connection, without an event loop.

Every script goes out as often as `repeats` says: it must have the effect of once (I5). When memory
is `full` it goes out at the limit first. Those that must work there do; another one is refused and
has changed nothing (I8), and is sent again with memory enough.
"""

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError

from streams.broker import Broker
from streams.callbacks import CallbackStore
from streams.scripts import Scripts
from streams.settings import EngineSettings
from tests.model.model import CRASHES_MAX, INLINE_MAX
from tests.model.snapshot import KEYS, read

T = TypeVar("T")

SETTINGS = EngineSettings(
    lease_ms=600_000,
    crashes_max=CRASHES_MAX,
    result_inline_max_bytes=INLINE_MAX,
    callback_inline_max_bytes=INLINE_MAX,
    open_gap_ms=10**9,  # a machine that stands still for a while is no outage
)
AT_THE_LIMIT = (
    *("take", "renew", "settle", "stage"),
    *("callbacks_take", "callbacks_renew", "callbacks_settle"),
)


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that never waits."""
    try:
        call.send(None)
    except StopIteration as ended:
        answer: T = ended.value
        return answer
    raise AssertionError("it waits for something")


SMALLER = {"TRIM_FROM = 5": "TRIM_FROM = 1", "RECORD_RESULT_MAX = 64": "RECORD_RESULT_MAX = 4"}


def smaller(sources: Mapping[str, str]) -> Mapping[str, str]:
    """The scripts with limits that the machine exceeds, whose batches and results are small."""
    finish = sources["lib/finish"]
    for usual, small in SMALLER.items():
        assert finish.count(usual) == 1
        finish = finish.replace(usual, small)
    return {**sources, "lib/finish": finish}


class Link:
    """A client for Broker and CallbackStore whose calls are done when they return."""

    def __init__(self, url: str, sources: Mapping[str, str]) -> None:
        self.redis: Redis[bytes] = Redis.from_url(url)
        self.repeats = 1
        self.full = False
        self.refused = False  # the script called last, when Redis had no memory
        self.replies: list[Any] = []  # of the script called last, one for each time
        self.connection_pool = None  # CallbackStore has a wire, which is not used here
        client: Any = self
        self.broker = Broker(client, KEYS, SETTINGS)
        self.callbacks = CallbackStore(client, KEYS, SETTINGS)
        self._scripts = scripts = Scripts(client, KEYS, SETTINGS, smaller(sources))
        self.broker.scripts = self.callbacks._scripts = scripts
        self._flushed = True
        self._must_work = {scripts[name].sha for name in AT_THE_LIMIT}
        self._must_work |= {scripts[name].text for name in AT_THE_LIMIT}

    def reset(self, repeats: int, *, full: bool) -> None:
        """An empty Redis; how often each script is sent, and whether at the memory limit."""
        self.redis.config_set("maxmemory", 0)
        self.redis.flushall()
        self.repeats, self.full = repeats, full
        if self._flushed:  # Hypothesis wants a failure to be the same each time, cause and all
            self._flushed = False
            for script in self._scripts:
                self.redis.script_load(script.text)

    def flush_scripts(self) -> None:
        """Redis has forgotten them."""
        self.redis.script_flush()
        self._flushed = True

    def close(self) -> None:
        """Leave Redis with memory enough."""
        self.redis.config_set("maxmemory", 0)
        self.redis.close()

    async def execute_command(self, *command: Any) -> Any:
        """What `Scripts` calls."""
        self.refused = False
        self.replies = [self._at_the_limit(*command) if self.full else self._send(*command)]
        if self.repeats > 1:
            once = read(self.redis).fixed
            self.replies += [self._send(*command) for _ in range(1, self.repeats)]
            assert read(self.redis).fixed == once, "I5: more than the effect of once"
        return self.replies[0]

    def _send(self, *command: Any) -> Any:
        return self.redis.execute_command(*command)

    def _at_the_limit(self, *command: Any) -> Any:
        before = read(self.redis)
        self.redis.config_set("maxmemory", 1)
        try:
            return self._send(*command)
        except ResponseError as error:
            if "OOM" not in str(error) and not isinstance(error, OutOfMemoryError):
                raise
            assert command[1] not in self._must_work, "I8: refused at maxmemory"
            assert read(self.redis).fixed == before.fixed, "I8: refused by half"
            self.refused = True
        finally:
            self.redis.config_set("maxmemory", 0)
        return self._send(*command)
