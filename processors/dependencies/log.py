"""`log`: a structured log for each attempt, whose lines carry the job's id."""

from collections.abc import Callable

from processors.dependencies import Attempt
from streams.model import ResourceClass


class Log:
    """Writes lines about one attempt: a fixed sentence, and the facts as fields."""

    def __init__(self, write: Callable[..., None]) -> None:
        """`write` takes level, message and fields, as `Attempt.log` does."""
        self._write = write

    def debug(self, message: str, **fields: object) -> None:
        """What only the author of the processor wants to know."""
        self._write("debug", message, **fields)

    def info(self, message: str, **fields: object) -> None:
        """What an operator would ask for."""
        self._write("info", message, **fields)

    def warning(self, message: str, **fields: object) -> None:
        """What needs a look today."""
        self._write("warning", message, **fields)

    def error(self, message: str, **fields: object) -> None:
        """What needs a person now."""
        self._write("error", message, **fields)


class LogProvider:
    """Gives every attempt its log; nothing to open, always reachable."""

    name = "log"
    classes = frozenset(ResourceClass)

    async def open(self) -> None:
        """Nothing to open."""

    async def check(self) -> None:
        """Always reachable."""

    def inject(self, attempt: Attempt) -> Log:
        """The log of this attempt."""
        return Log(attempt.log)

    async def close(self) -> None:
        """Nothing to close."""
