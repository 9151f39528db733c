"""Faults to order: which requests go wrong, and how."""

import random
from enum import StrEnum

import msgspec

ALWAYS = 0
INFERENCE = ("/api/generate", "/api/chat", "/api/embed")


class Kind(StrEnum):
    """What goes wrong. `arg` is a number of seconds, of chunks or a factor, as said here."""

    REFUSE = "refuse"  # at once: no listener for `arg` seconds
    RESTART = "restart"  # the request kills the server, which is back after `arg` seconds
    HTTP = "http"  # answer status `arg` with `text` as the error
    NOT_FOUND = "not_found"
    BUSY = "busy_503"
    SLOW_FIRST_TOKEN = "slow_first_token"  # `arg` simulated seconds more
    SLOW_TOKENS = "slow_tokens"  # generate `arg` times slower
    HANG_BEFORE_HEADERS = "hang_before_headers"
    HANG_MID = "hang_mid"  # after `arg` chunks, for ever
    RESET_MID = "reset_mid"  # after `arg` chunks the connection is cut
    ERROR_LINE = "error_line"  # after `arg` chunks, with `text`
    NO_DONE = "no_done"  # after `arg` chunks the stream ends, politely
    GARBAGE_LINE = "garbage_line"  # after `arg` chunks half a line
    BLANK_LINE = "blank_line"  # after `arg` chunks an empty line
    LIST_BODY = "list_body"  # answer status `arg` with a JSON list
    CUT_JSON = "cut_json"  # stop in the middle with done_reason length
    SCHEMA_IGNORED = "schema_ignored"
    LOAD_FAIL = "load_fail"  # with `text`
    LOAD_HANG = "load_hang"
    RUNNER_CRASH = "runner_crash"  # after `arg` chunks; the next request loads again
    STUCK_STOPPING = "stuck_stopping"  # the next unload never ends
    LEAK = "leak"  # from now on every unload keeps `arg` bytes


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests: all of these must hold."""

    route: str = ""  # such as /api/ps; empty: any of generate, chat and embed
    model: str = ""
    nth: int = 0  # only the n-th of the requests that fit, counted from 1; 0: each
    prob: float = 1.0


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of trouble, for the requests that match, at most `times` times (0: always)."""

    kind: Kind
    match: Match = Match()
    arg: float = 0.0
    text: str = ""
    times: int = 1


class Faults:
    """The faults of one request, by kind."""

    def __init__(self, drawn: dict[Kind, Fault]) -> None:
        self._drawn = drawn

    def get(self, kind: Kind) -> Fault | None:
        """The fault of that kind, if this request has it."""
        return self._drawn.get(kind)

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._drawn

    def due(self, kind: Kind, chunk: int) -> Fault | None:
        """The fault of that kind if it strikes before the chunk numbered from 0."""
        fault = self._drawn.get(kind)
        return fault if fault is not None and int(fault.arg) == chunk else None


class FaultTable:
    """The faults that were ordered and are not used up."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ordered: list[_Ordered] = []

    def add(self, fault: Fault) -> None:
        """Order one more."""
        self._ordered.append(_Ordered(fault, fault.times))

    def clear(self) -> None:
        """Forget them all."""
        self._ordered.clear()

    def draw(self, route: str, model: str = "") -> Faults:
        """The faults that strike a request, each used once by this."""
        drawn: dict[Kind, Fault] = {}
        for ordered in self._ordered:
            if ordered.strikes(route, model, self._rng) and ordered.fault.kind not in drawn:
                ordered.use()
                drawn[ordered.fault.kind] = ordered.fault
        self._ordered = [ordered for ordered in self._ordered if not ordered.used_up]
        return Faults(drawn)

    def listing(self) -> list[Fault]:
        """What is still ordered."""
        return [ordered.fault for ordered in self._ordered]


class _Ordered:
    def __init__(self, fault: Fault, times: int) -> None:
        self.fault = fault
        self._left = times if times != ALWAYS else -1
        self._seen = 0

    @property
    def used_up(self) -> bool:
        return self._left == 0

    def use(self) -> None:
        if self._left > 0:
            self._left -= 1

    def strikes(self, route: str, model: str, rng: random.Random) -> bool:
        match = self.fault.match
        routes = (match.route,) if match.route else INFERENCE
        if route not in routes or match.model not in ("", model):
            return False
        self._seen += 1
        if match.nth not in (0, self._seen):
            return False
        return match.prob >= 1.0 or rng.random() < match.prob
