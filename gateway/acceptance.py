"""Accepting jobs, with the line of the log where the story of each begins."""

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streams.keyspace import FLOW
from streams.model import NewJob, Submitted
from streams.trace import trace_id

if TYPE_CHECKING:
    from gateway.parts import GatewayParts

log = logging.getLogger(__name__)

EACH = "each"  # of a record: the fields of several lines, which are alike in all else


class AcceptedLines:
    """Writes a line for each accepted job; those of one turn of the loop are one record."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[dict[str, str]]] = {}

    def tell(self, jobs: Sequence[NewJob], answers: Sequence[Submitted]) -> None:
        """Have lines written about jobs and what was said of them."""
        if not log.isEnabledFor(logging.INFO):
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        for job, answer in zip(jobs, answers, strict=True):
            if answer.same:
                message = "job accepted" if answer.created else "the job was there already"
                self._waiting.setdefault(message, []).append(fields_of(job, answer))

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for message, each in waiting.items():
            log.info(message, extra={EACH: each})


def fields_of(job: NewJob, answer: Submitted) -> dict[str, str]:
    """What a line says of an accepted job."""
    lane = job.lane
    fields = {"job_id": answer.holder or answer.id}
    if lane.processor == FLOW:
        fields["flow"] = job.id
    fields |= {"app": lane.app, "processor": lane.processor}
    if job.trace:
        fields["trace_id"] = trace_id(job.trace)
    fields["state"] = answer.state.value
    return fields


async def accept(parts: "GatewayParts", jobs: Sequence[NewJob]) -> list[Submitted]:
    """Accept jobs as `Acceptor.accept` does."""
    answers = await parts.acceptor.accept(jobs)
    parts.accepted_lines.tell(jobs, answers)
    return answers
