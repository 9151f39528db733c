"""How a job's newest attempt stands in its record: one field, which lua/lib/ledger.lua writes."""

import msgspec


class Leased(msgspec.Struct, frozen=True):
    """A job's newest lease: under way, or what it was. All are empty before the first."""

    attempt: int = 0
    token: str = ""  # begins with `-` when it was handed back, empty when it is over for good
    pool: str = ""
    started_ms: int = 0
    worker: str = ""


def parse_lease(stored: bytes | str | None) -> Leased:
    """The lease of a record's field `lease`."""
    if not stored:
        return Leased()
    said = stored.decode() if isinstance(stored, bytes) else stored
    attempt, token, pool, started_ms, worker = said.split("\t", 4)
    return Leased(int(attempt), token, pool, int(started_ms or 0), worker)
