"""What a container's health check runs: `python -m ops.probe URL [METRIC=VALUE]`.

Exits 0 when URL answers 200, and has that metric with that value where one is given. Needs no
settings and imports nothing of ours, so that it costs a tenth of a second every time.
"""

import http.client
import sys
import urllib.request
from collections.abc import Sequence

ANSWER_S = 4.0


def main(arguments: Sequence[str]) -> int:
    """0 when it is well, 1 with a reason when it is not, 2 for wrong arguments."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    url, wanted = arguments[0], arguments[1] if len(arguments) == 2 else ""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            text = answer.read().decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1
    name, _, value = wanted.partition("=")
    if wanted and not has(text, name, float(value)):
        print(f"{url}: {name} is not {value}", file=sys.stderr)
        return 1
    return 0


def has(text: str, name: str, value: float) -> bool:
    """Whether a metric without labels has this value, in Prometheus' text format."""
    samples = (line.split() for line in text.splitlines() if line.startswith(f"{name} "))
    return any(float(sample[1]) == value for sample in samples)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
