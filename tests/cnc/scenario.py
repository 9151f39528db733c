"""1,200 errors of two apps: a storm after a deploy, a slow leak, a noisy health check.

`python -m tests.cnc.scenario` writes them as the sample of `cnc-pattern-detection`, and what
counting makes of them as that of `cnc-pattern-name`.
"""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from processors.cnc.patterns import PatternIn, count_patterns
from tests.processors.shipped import SAMPLES

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
WINDOW = (NOON - timedelta(hours=3), NOON)
BASELINE = (NOON - timedelta(days=3, hours=3), NOON - timedelta(hours=3))
DEPLOYED = NOON - timedelta(minutes=95)
SAMPLE = SAMPLES / "cnc-pattern-detection" / "deploy-storm.json"
NAMING = SAMPLES / "cnc-pattern-name" / "deploy-storm.json"
TOTAL = 1_200

STORM = "TypeError: Cannot read properties of undefined (reading 'spindle') of job {n}"
LEAK = "MemoryError: heap of worker {n} is at {m} MB"
HEALTH = "health check of mill-{n} took {m} ms"
REST = (
    "connect ECONNREFUSED 10.0.4.{n}:5432",
    "user {n} entered a wrong password",
    "part P-{n} is not in the catalogue",
)


def scenario(seed: int = 7) -> dict[str, Any]:
    """The input of the flow."""
    rng = random.Random(seed)
    errors: list[dict[str, str]] = []

    def add(app: str, at: datetime, text: str) -> None:
        message = text.format(n=rng.randint(1, 99), m=rng.randint(100, 900))
        errors.append({"app": app, "at": stamp(at), "message": message})

    for _ in range(180):  # most of it in the first quarter of an hour
        after = min(rng.expovariate(1 / 420), 5_400)
        add("cnc", DEPLOYED + timedelta(seconds=40 + after), STORM)
    for at in even(rng, *BASELINE, 40):
        add("cnc", at, LEAK)
    for _ in range(60):  # more and more
        add("cnc", WINDOW[0] + timedelta(seconds=10_800 * rng.random() ** 0.3), LEAK)
    for at in even(rng, BASELINE[0], NOON, 600):
        add("cnc", at, HEALTH)
    while len(errors) < TOTAL:
        (at,) = even(rng, BASELINE[0], NOON, 1)
        add(rng.choice(["cnc", "etyde"]), at, rng.choice(REST))
    errors.sort(key=lambda error: (error["at"], error["message"]))
    return {
        "window": {"from": stamp(WINDOW[0]), "to": stamp(WINDOW[1])},
        "baseline": {"from": stamp(BASELINE[0]), "to": stamp(BASELINE[1])},
        "deploys": [
            {"app": "cnc", "at": stamp(DEPLOYED), "version": "4.12.0"},
            {"app": "etyde", "at": stamp(DEPLOYED - timedelta(hours=1)), "version": "2.0.1"},
        ],
        "min_count": 5,
        "errors": errors,
    }


def even(rng: random.Random, start: datetime, end: datetime, count: int) -> list[datetime]:
    """Moments spread evenly, by chance."""
    return [start + (end - start) * rng.random() for _ in range(count)]


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def written() -> str:
    """The sample's text: an error on each line."""
    given = scenario()
    errors = ",\n".join(f"    {json.dumps(error)}" for error in given.pop("errors"))
    head = json.dumps(given, indent=2).rstrip("}\n")
    return f'{head},\n  "errors": [\n{errors}\n  ]\n}}\n'


def counted() -> str:
    """What the second stage is given."""
    given = msgspec.json.decode(written(), type=PatternIn)
    return msgspec.json.format(msgspec.json.encode(count_patterns(given)), indent=2).decode() + "\n"


if __name__ == "__main__":
    for file, text in ((SAMPLE, written()), (NAMING, counted())):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
