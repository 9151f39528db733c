"""How an error is classified: the words for it, and how grave it is at least."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Category(StrEnum):
    """What kind of trouble it is."""

    OUT_OF_MEMORY = "out_of_memory"
    DISK = "disk"
    NETWORK = "network"
    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    VALIDATION = "validation"
    DATABASE = "database"
    CONFIGURATION = "configuration"
    BUG = "bug"
    UNKNOWN = "unknown"


class Severity(StrEnum):
    """How grave it is; the gravest last."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Its place, 0 for info."""
        return list(Severity).index(self)


class Confidence(StrEnum):
    """How sure the verdict is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Verdict(msgspec.Struct, frozen=True):
    """What is said of an error, by a rule or by a model."""

    category: Category
    severity: Severity
    component: str
    root_cause: str
    evidence_line: str
    retryable: bool
    suggested_action: str
    confidence: Confidence


PRODUCTION = frozenset({"prod", "production", "live"})
# Level → at least so grave, in production and elsewhere.
FLOORS: Mapping[str, tuple[Severity, Severity]] = {
    "fatal": (Severity.CRITICAL, Severity.HIGH),
    "critical": (Severity.CRITICAL, Severity.HIGH),
    "error": (Severity.MEDIUM, Severity.LOW),
    "warning": (Severity.LOW, Severity.INFO),
    "warn": (Severity.LOW, Severity.INFO),
}


def floor_of(level: str, env: str) -> Severity:
    """How grave an error of that level in that environment is at least."""
    in_production, elsewhere = FLOORS.get(level.lower(), (Severity.INFO, Severity.INFO))
    return in_production if env.lower() in PRODUCTION else elsewhere


def at_least(severity: Severity, floor: Severity) -> Severity:
    """The graver of the two."""
    return max(severity, floor, key=lambda one: one.rank)
