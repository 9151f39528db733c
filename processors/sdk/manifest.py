"""What a processor declares about itself, checked when it is made."""

import re
from collections.abc import Callable, Mapping

import msgspec

from streams.errors import ConfigError
from streams.keyspace import FLOW
from streams.model import ResourceClass

NAME = re.compile(r"[a-z0-9-]{1,64}")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
DEPENDENCY = re.compile(r"[a-z][a-z0-9_]{0,31}")
SUMMARY_MAX = 200
ATTEMPTS_MAX = 100
TIMEOUT_MAX_S = 86_400.0
BACKOFF_MAX_S = 86_400.0
CACHE_MAX_S = 90 * 86_400.0


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A processor's declaration. Raises ConfigError, naming processor and field, when it is wrong.

    A job may override `attempts_max`, `timeout_s` and the backoff; the rest holds for all its jobs.
    """

    name: str  # unique, `[a-z0-9-]{1,64}`
    version: str
    summary: str  # one line, as in the list of processors
    resource_class: ResourceClass = ResourceClass.IO
    dependencies: tuple[str, ...] = ()
    attempts_max: int = 3
    backoff_s: float = 1.0  # the longest first wait; doubles with each failure
    backoff_max_s: float = 300.0
    timeout_s: float = 60.0
    model: str = ""  # alias of a model; class `ollama` only
    cache_s: float = 0.0  # class ollama: how long a result is that of the same input; 0: not at all
    prompt_version: str = ""  # of what the model is told; another for every change of a prompt

    def __post_init__(self) -> None:
        """Check every field, and take lists and plain strings for tuples and members."""
        if isinstance(self.dependencies, list):
            msgspec.structs.force_setattr(self, "dependencies", tuple(self.dependencies))
        if self.resource_class in tuple(ResourceClass):
            resource_class = ResourceClass(self.resource_class)
            msgspec.structs.force_setattr(self, "resource_class", resource_class)
        for field, (is_right, rule) in RULES.items():
            value = getattr(self, field)
            if not is_right(value):
                raise ConfigError(f"processor {self.name!r}: {field} {rule}, not {value!r}")
        self._check_together()

    def _check_together(self) -> None:
        if self.model and self.resource_class is not ResourceClass.OLLAMA:
            raise ConfigError(
                f"processor {self.name!r}: model {self.model!r} is for class ollama only, "
                f"not for class {self.resource_class}"
            )
        if self.cache_s and self.resource_class is not ResourceClass.OLLAMA:
            raise ConfigError(
                f"processor {self.name!r}: cache_s is for class ollama only, "
                f"not for class {self.resource_class}"
            )
        if self.backoff_max_s < self.backoff_s:
            raise ConfigError(
                f"processor {self.name!r}: backoff_max_s {self.backoff_max_s} "
                f"is less than backoff_s {self.backoff_s}"
            )


Rule = tuple[Callable[[object], bool], str]


def matches(pattern: re.Pattern[str]) -> Rule:
    """Accepts a whole string of `pattern`."""
    return (
        lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None,
        f"must match {pattern.pattern}",
    )


def seconds(least: float, most: float) -> Rule:
    """Accepts a number of seconds over `least`, up to `most`."""
    return (
        lambda value: _is_number(value, int, float) and least < value <= most,
        f"must be over {least:g} and at most {most:g} seconds",
    )


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_summary(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= SUMMARY_MAX and "\n" not in value


def _is_attempts(value: object) -> bool:
    return _is_number(value, int) and value in range(1, ATTEMPTS_MAX + 1)


def _is_dependencies(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and all(isinstance(name, str) and DEPENDENCY.fullmatch(name) for name in value)
        and len(set(value)) == len(value)
    )


RULES: Mapping[str, Rule] = {
    "name": (
        lambda value: _is_name(value) and value != FLOW,
        f"must match {NAME.pattern} and not be {FLOW}",
    ),
    "version": matches(VERSION),
    "summary": (_is_summary, f"must be one line of at most {SUMMARY_MAX} characters"),
    "resource_class": (
        lambda value: isinstance(value, ResourceClass),
        "must be one of ollama, io and cpu",
    ),
    "dependencies": (_is_dependencies, "must be a tuple of names, each at most once"),
    "attempts_max": (_is_attempts, f"must be a whole number from 1 to {ATTEMPTS_MAX}"),
    "backoff_s": seconds(0, BACKOFF_MAX_S),
    "backoff_max_s": seconds(0, BACKOFF_MAX_S),
    "timeout_s": seconds(0, TIMEOUT_MAX_S),
    "cache_s": (
        lambda value: value == 0 or seconds(0, CACHE_MAX_S)[0](value),
        f"must be 0, or at most {CACHE_MAX_S:g} seconds",
    ),
    "model": (lambda value: isinstance(value, str) and len(value) <= 64, "must be an alias"),
    "prompt_version": (
        lambda value: (
            value == "" or (isinstance(value, str) and VERSION.fullmatch(value) is not None)
        ),
        f"must be empty or match {VERSION.pattern}",
    ),
}
