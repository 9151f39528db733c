"""The fingerprint of an error: the same for two of one kind, as Sentry and Datadog group them.

App, type of the exception, the top frames of the app itself, and the masked message.
"""

import hashlib

import msgspec

from processors.cnc.masking import masked
from processors.cnc.stacks import Trace, described

FRAMES = 5  # the innermost of the app
DIGITS = 16


def fingerprint(app: str, trace: Trace, message: str, given: str | None = None) -> str:
    """Sixteen hex digits. `given` is the app's own grouping and stands for all but its name."""
    if given:
        return digest(app, given)
    frames = described(trace.own[:FRAMES])
    return digest(app, trace.exception, frames, masked(message.split("\n", 1)[0]))


def digest(*parts: object) -> str:
    """A short hash of some values."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:DIGITS]
