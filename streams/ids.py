"""Job ids: `<shard>-<26 characters>`, sortable by time of submission, or derived from a key.

The 26 characters are 128 bits in Crockford's base 32, lower case. Without an idempotency key the
bits are a UUIDv7 (RFC 9562, section 5.7); with one they are a hash of app and key, so that any
number of gateways make the same id; a tick's are a hash of schedule and instant. The shard is
always `0` today (decision record 4).
"""

import hashlib
import os

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
SHARD = "0"
DRAW_BYTES, DRAWS = 10, 512  # asking the system for each number takes longer than all the rest


class Draws:
    """Numbers of 80 random bits from the system, asked for by the hundred, each given once.

    Threads may share it, since a list gives each of its items once; a forked child asks anew.
    """

    def __init__(self) -> None:
        self._stock: list[int] = []
        os.register_at_fork(after_in_child=self._stock.clear)

    def __call__(self) -> int:
        """The next number."""
        while True:
            try:
                return self._stock.pop()
            except IndexError:
                drawn = os.urandom(DRAW_BYTES * DRAWS)
                starts = range(0, len(drawn), DRAW_BYTES)
                self._stock.extend(int.from_bytes(drawn[at : at + DRAW_BYTES]) for at in starts)


draw = Draws()


def new_job_id(now_ms: int) -> str:
    """A fresh id; ids of later milliseconds sort after it."""
    random_bits = draw() >> 6  # 74 of them
    value = (now_ms & (2**48 - 1)) << 80 | 0x7 << 76 | (random_bits >> 62) << 64
    value |= 0b10 << 62 | random_bits & (2**62 - 1)
    return f"{SHARD}-{base32(value, 26)}"


def job_id_for_key(app: str, idempotency_key: str) -> str:
    """The id that every gateway derives from this app's idempotency key."""
    digest = hashlib.sha256(f"{app}\0{idempotency_key}".encode()).digest()
    return f"{SHARD}-{base32(int.from_bytes(digest[:16], 'big'), 26)}"


def job_id_for_tick(schedule: str, instant_ms: int) -> str:
    """The id that everybody derives from a schedule's key and an instant."""
    digest = hashlib.sha256(f"tick\0{schedule}\0{instant_ms}".encode()).digest()
    return f"{SHARD}-{base32(int.from_bytes(digest[:16], 'big'), 26)}"


def base32(value: int, length: int) -> str:
    """`value` in Crockford's base 32, padded with zeros to `length` characters, an even number."""
    pairs = [PAIRS[value >> shift & 1023] for shift in range(5 * length - 10, -1, -10)]
    return "".join(pairs)


def callback_id(job_id: str, ending: int) -> str:
    """The webhook-id of a job's n-th ending, from 1, as lua/lib/finish.lua makes it."""
    digest = hashlib.sha1(f"{job_id}:{ending}".encode(), usedforsecurity=False).hexdigest()
    return f"msg_{digest[:26]}"
