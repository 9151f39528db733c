"""Job ids: `<shard>-<26 characters>`, sortable by time of submission, or derived from a key.

The 26 characters are 128 bits in Crockford's base 32, lower case. Without an idempotency key the
bits are a UUIDv7 (RFC 9562, section 5.7); with one they are a hash of app and key, so that any
number of gateways make the same id; a tick's are a hash of schedule and instant. The shard is
always `0` today (decision record 4).
"""

import hashlib
import os
from functools import lru_cache

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
SHARD = "0"
TIME_CHARACTERS, RANDOM_CHARACTERS = 10, 16  # of an id: 48 bits of time; the rest is random
DRAWS = 512  # asking the system for each number takes longer than all the rest


def _spread(choices: str) -> bytes:
    """A table that makes a random byte into one of `choices`, whose number divides 256."""
    return (choices * (256 // len(choices))).encode()


# The 80 bits begin with the version, 0111; two from the 17th on are the variant, 10.
ANY, FIRST = _spread(ALPHABET), _spread(ALPHABET[0b01110:0b10000])
FOURTH = _spread(ALPHABET[0b01000:0b01100] + ALPHABET[0b11000:0b11100])


class Draws:
    """Random ends of ids from the system, asked for by the hundred, each given once.

    Threads may share it, since a list gives each of its items once; a forked child asks anew.
    """

    def __init__(self) -> None:
        self._stock: list[str] = []
        os.register_at_fork(after_in_child=self._stock.clear)

    def __call__(self) -> str:
        """The next one."""
        while True:
            try:
                return self._stock.pop()
            except IndexError:
                self._stock.extend(random_ends(os.urandom(RANDOM_CHARACTERS * DRAWS)))


def random_ends(drawn: bytes) -> list[str]:
    """What 16 random bytes each make: version, variant and the 74 random bits of a UUIDv7."""
    made = bytearray(drawn.translate(ANY))
    made[0::RANDOM_CHARACTERS] = drawn[0::RANDOM_CHARACTERS].translate(FIRST)
    made[3::RANDOM_CHARACTERS] = drawn[3::RANDOM_CHARACTERS].translate(FOURTH)
    ends, size = made.decode("ascii"), RANDOM_CHARACTERS
    return [ends[at : at + size] for at in range(0, len(ends), size)]


draw = Draws()


@lru_cache(maxsize=16)
def _start(now_ms: int) -> str:
    """How the ids of a millisecond begin."""
    return f"{SHARD}-{base32(now_ms & (2**48 - 1), TIME_CHARACTERS)}"


def new_job_id(now_ms: int) -> str:
    """A fresh id; ids of later milliseconds sort after it."""
    return _start(now_ms) + draw()


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
