"""What the event stream tells of the jobs, added up: states now, times, what was reclaimed."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from streams.events import Event
from streams.model import ResourceClass, State


class Course(msgspec.Struct):
    """One job's way so far. Times are the stream's, in milliseconds."""

    resource_class: ResourceClass
    submitted_ms: int
    state: State
    started_ms: int = 0  # of its first attempt
    active_ms: int = 0  # of its newest attempt
    ends: int = 0
    is_handed_back: bool = False


class History:
    """Add every event in order; then read."""

    def __init__(self) -> None:
        self.courses: dict[str, Course] = {}
        self.reclaimed = 0  # attempts that began because the one before lost its worker
        self.handed_back = 0
        self.retries = 0
        self.waits_ms: list[int] = []  # from submission to the first attempt
        self.runs_ms: list[int] = []  # of every attempt that came to its own end

    def add(self, event: Event) -> None:
        """Take one event into account."""
        course = self.courses.setdefault(
            event.job_id, Course(event.lane.resource_class, event.at_ms, State.WAITING)
        )
        match event.kind:
            case "active":
                self._begin(course, event)
            case "handed_back":
                self.handed_back += 1
                course.is_handed_back = True
            case "retrying":
                self.retries += 1
                self._end(course, event)
            case "ended":
                course.ends += 1
                self._end(course, event)
        course.state = event.state

    def ended(self) -> int:
        """Jobs that have ended."""
        return sum(course.state.ended for course in self.courses.values())

    def states(self) -> Mapping[tuple[ResourceClass, State], int]:
        """Jobs now by class and state."""
        courses = self.courses.values()
        return Counter((course.resource_class, course.state) for course in courses)

    def is_at_full_work(self, since_ms: int) -> bool:
        """Whether attempts began by `since_ms` and run in every class that has jobs left."""
        live = [course for course in self.courses.values() if not course.state.ended]
        running = {one.resource_class for one in live if one.state is State.ACTIVE}
        began = [one.started_ms for one in self.courses.values() if one.started_ms]
        is_ripe = bool(began) and min(began) <= since_ms
        return is_ripe and bool(running) and running == {one.resource_class for one in live}

    def _begin(self, course: Course, event: Event) -> None:
        if course.state is State.ACTIVE and not course.is_handed_back:
            self.reclaimed += 1
        if not course.started_ms:
            course.started_ms = event.at_ms
            self.waits_ms.append(event.at_ms - course.submitted_ms)
        course.active_ms = event.at_ms
        course.is_handed_back = False

    def _end(self, course: Course, event: Event) -> None:
        if course.state is State.ACTIVE:
            self.runs_ms.append(event.at_ms - course.active_ms)


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that `share` of all do not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)] if ranked else 0
