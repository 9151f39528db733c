"""What stands at the head of a request: its headers, and what its connection says of it."""

from collections.abc import Sequence

# In the scope of a request that came over a connection of ours:
WHOLE = "roughneck.whole"  # all of it has arrived
AT_ONCE = "roughneck.at_once"  # sends a whole answer in one write; False where it cannot


class Heads:
    """Headers as ASGI has them: lower-case names, Latin-1. Of one given twice the first counts.

    Each is found at once, where Starlette's look through all of them each time.
    """

    __slots__ = ("_first", "_raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._first = dict(reversed(raw))

    def get(self, name: str, default: str = "") -> str:
        """The value of a header; `default` where it was not sent."""
        value = self._first.get(name.encode())
        return default if value is None else value.decode("latin-1")

    def getlist(self, name: str) -> list[str]:
        """All values of a header, in their order."""
        wanted = name.encode()
        if wanted not in self._first:
            return []
        return [value.decode("latin-1") for known, value in self._raw if known == wanted]

    def __contains__(self, name: str) -> bool:
        return name.encode() in self._first
