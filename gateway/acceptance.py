"""Accepting jobs, with the line of the log where the story of each begins."""

import logging
from collections.abc import Sequence

from gateway.parts import GatewayParts
from streams.keyspace import FLOW
from streams.model import NewJob, Submitted
from streams.trace import trace_id

log = logging.getLogger(__name__)


async def accept(parts: GatewayParts, jobs: Sequence[NewJob]) -> list[Submitted]:
    """Accept jobs as `Acceptor.accept` does."""
    answers = await parts.acceptor.accept(jobs)
    if log.isEnabledFor(logging.INFO):
        for job, answer in zip(jobs, answers, strict=True):
            if answer.same:
                _tell(job, answer)
    return answers


def _tell(job: NewJob, answer: Submitted) -> None:
    lane = job.lane
    fields = {
        "job_id": answer.holder or answer.id,
        "flow": job.id if lane.processor == FLOW else "",
        "app": lane.app,
        "processor": lane.processor,
        "trace_id": trace_id(job.trace),
        "state": str(answer.state),
    }
    message = "job accepted" if answer.created else "the job was there already"
    log.info(message, extra={name: value for name, value in fields.items() if value})
