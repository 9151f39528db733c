"""The books of the demo: what was submitted against what came of it. Decides only."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from streams.model import State


class Submission(msgspec.Struct, frozen=True):
    """One job that the gateway accepted, and the state in which it is to end."""

    job_id: str
    name: str
    app: str
    ends: State
    or_ends: State | None = None  # as well


class Answer(msgspec.Struct, frozen=True):
    """What the gateway says of a job afterwards."""

    state: State
    attempt: int
    result: Any = None


class Receipt(msgspec.Struct, frozen=True):
    """One delivery as it arrived; `accepted` says that it was answered with success."""

    app: str
    callback_id: str
    body: bytes
    verified: bool = True
    accepted: bool = True


class Told(msgspec.Struct, frozen=True):
    """What a callback tells of its job; a large result is a link instead."""

    job_id: str
    app: str
    state: State
    sequence: int
    attempt: int
    result: Any = None
    result_url: str | None = None


class Body(msgspec.Struct, frozen=True):
    """The body of a callback, as far as it is read here."""

    type: str
    data: Told


class Seen(msgspec.Struct, frozen=True):
    """Everything that was seen from outside once all was quiet."""

    submissions: Sequence[Submission]
    answers: Mapping[str, Answer | None]  # by job id; None: the gateway knows no such job
    receipts: Sequence[Receipt]
    ends: Mapping[str, int]  # job id → endings in the event stream
    audit: Sequence[str]  # what contradicts the counters in Redis
    callbacks: Mapping[str, int]  # recorded, waiting, delivered, dead
    left: Sequence[int]  # processes of killed workers that still live


def findings(seen: Seen) -> list[str]:
    """Everything that is wrong, a sentence each; empty when nothing was lost or done twice."""
    return [sentence for check in CHECKS for sentence in check(seen)]


def duplicates(receipts: Iterable[Receipt]) -> int:
    """Deliveries beyond the first of their callback."""
    ids = [one.callback_id for one in receipts if one.verified]
    return len(ids) - len(set(ids))


def told(receipt: Receipt) -> Told:
    """What a delivery says. Raises msgspec.DecodeError for a body that is none."""
    return msgspec.json.decode(receipt.body, type=Body).data


def _endings(seen: Seen) -> Iterable[str]:
    for one in seen.submissions:
        answer = seen.answers.get(one.job_id)
        if answer is None:
            yield f"{one.name}: lost, the gateway does not know the job"
        elif not answer.state.ended:
            yield f"{one.name}: not ended, it is {answer.state}"
        elif answer.state not in (one.ends, one.or_ends):
            yield f"{one.name}: ended {answer.state}, not {one.ends}"
        ends = seen.ends.get(one.job_id, 0)
        if ends > 1:
            yield f"{one.name}: ended {ends} times"
    ids = [one.job_id for one in seen.submissions]
    if len(ids) != len(set(ids)):
        yield "two submissions were given one job id"


def _tellings(seen: Seen) -> Iterable[str]:
    """Each job is told of by exactly one callback, which says what the gateway says."""
    by_job: dict[str, dict[str, Receipt]] = defaultdict(dict)
    for receipt in filter(lambda one: one.verified, seen.receipts):
        by_job[told(receipt).job_id][receipt.callback_id] = receipt
    for one in seen.submissions:
        receipts = by_job.pop(one.job_id, {})
        if len(receipts) != 1:
            yield f"{one.name}: {len(receipts)} callbacks instead of one"
        answer = seen.answers.get(one.job_id)
        for receipt in receipts.values():
            yield from _differences(one, answer, receipt)
    for job_id in by_job:
        yield f"a callback tells of {job_id}, which nobody submitted"


def _differences(one: Submission, answer: Answer | None, receipt: Receipt) -> Iterable[str]:
    said = told(receipt)
    if not receipt.app == said.app == one.app:
        yield f"{one.name}: {receipt.app} was told of a job of {one.app}"
    if said.sequence != 1:
        yield f"{one.name}: its callback is of ending {said.sequence}"
    if answer and (said.state, said.attempt) != (answer.state, answer.attempt):
        yield (
            f"{one.name}: its callback says {said.state} at attempt {said.attempt}, "
            f"the gateway {answer.state} at {answer.attempt}"
        )
    if answer and not said.result_url and said.result != answer.result:
        yield f"{one.name}: its callback has another result than the gateway"


def _deliveries(seen: Seen) -> Iterable[str]:
    forged = [one for one in seen.receipts if not one.verified]
    if forged:
        yield f"{len(forged)} deliveries bear no signature that fits"
    bodies: dict[str, set[bytes]] = defaultdict(set)
    accepted: dict[str, int] = defaultdict(int)
    for receipt in seen.receipts:
        bodies[receipt.callback_id].add(receipt.body)
        accepted[receipt.callback_id] += receipt.accepted
    for callback_id, variants in bodies.items():
        if len(variants) > 1:
            yield f"{callback_id}: came with {len(variants)} different bodies"
        if accepted[callback_id] != 1:
            yield f"{callback_id}: accepted {accepted[callback_id]} times"


def _books(seen: Seen) -> Iterable[str]:
    yield from (f"audit: {sentence}" for sentence in seen.audit)
    counted = {name: seen.callbacks.get(name, 0) for name in ("recorded", "delivered")}
    if set(counted.values()) != {len(seen.submissions)}:
        yield f"callbacks: {counted} for {len(seen.submissions)} jobs"
    for name in ("waiting", "dead"):
        if seen.callbacks.get(name, 0):
            yield f"callbacks: {seen.callbacks[name]} are {name}"


def _processes(seen: Seen) -> Iterable[str]:
    if seen.left:
        yield f"processes {', '.join(map(str, seen.left))} outlived their worker"


CHECKS: tuple[Callable[[Seen], Iterable[str]], ...] = (
    _endings,
    _tellings,
    _deliveries,
    _books,
    _processes,
)
