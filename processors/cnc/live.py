"""Spikes of errors while they happen: decided from counts of windows, without clock and network."""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from processors.cnc.spikes import is_spike, mean_of, score_of

KEYS_MAX = 2_000  # kinds of errors that are kept apart
CALM = 2  # windows without a spike end one


class Begun(msgspec.Struct, frozen=True):
    """More errors of a kind than usual."""

    key: str
    count: int
    usual: float
    score: float


class Over(msgspec.Struct, frozen=True):
    """They are as usual again."""

    key: str
    count: int  # of errors while it lasted
    windows: int


class Course(msgspec.Struct):
    """A spike that goes on."""

    first: int
    last: int
    count: int


class SpikeWatch:
    """Says once when a spike begins and once when it is over."""

    def __init__(self) -> None:
        self._usual: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._going: dict[str, Course] = {}

    @property
    def going(self) -> frozenset[str]:
        """The kinds that spike now."""
        return frozenset(self._going)

    def see(
        self, key: str, window: int, count: int, before: Callable[[], list[int]]
    ) -> Begun | None:
        """An error of a kind has come, the `count`th in its window, counted by number."""
        course = self._going.get(key)
        if course is not None:
            course.count += 1
            if is_spike(count, self._usual_of(key, course.first, before)):
                course.last = window
            return None
        usual = self._usual_of(key, window, before)
        if not is_spike(count, usual):
            return None
        self._going[key] = Course(window, window, count)
        return Begun(key, count, round(usual, 3), round(score_of(count, usual), 2))

    def over(self, window: int) -> list[Over]:
        """The spikes that have been calm for CALM windows before this one."""
        ended = [key for key, one in self._going.items() if window - one.last > CALM]
        courses = [(key, self._going.pop(key)) for key in sorted(ended)]
        return [Over(key, one.count, one.last - one.first + 1) for key, one in courses]

    def _usual_of(self, key: str, window: int, before: Callable[[], list[int]]) -> float:
        """What is usual in a window; asked for once, since it does not change while it lasts."""
        known = self._usual.get(key)
        if known is None or known[0] != window:
            known = (window, mean_of(before()))
            self._usual[key] = known
            while len(self._usual) > KEYS_MAX:
                self._usual.popitem(last=False)
        self._usual.move_to_end(key)
        return known[1]
