"""Shadow runs: what an app submits also goes to another processor, whose result is only compared.

A shadow never harms its job: it is submitted after the job was accepted, in an app of its own
(`shadow.<app>`, with turns, limits and listings of its own), at low priority, without a callback,
and it expires after a day. Where it cannot be run, the job goes on without.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from gateway.parts import GatewayParts
from gateway.schemas import PayloadSchemas
from gateway.submission import decoded
from gateway.wire import ShadowTarget
from streams.blobs import may_refer
from streams.directory import ProcessorCard
from streams.errors import Rejected, Trouble
from streams.ids import job_id_for_key
from streams.model import Lane, NewJob, Priority

APP = "shadow."  # in front of the app whose jobs they shadow
TAG = "shadow:"  # in front of the job that it shadows
LIFE_MS = 86_400_000  # from when it could start

log = logging.getLogger(__name__)


def shadow_app(app: str) -> str:
    """The app of the shadows of an app's jobs."""
    return f"{APP}{app}"


def shadowed(tags: Sequence[str]) -> str:
    """The id of the job that a shadow with these tags shadows; empty for one that is none."""
    return next((tag.removeprefix(TAG) for tag in tags if tag.startswith(TAG)), "")


def is_picked(job_id: str, share: float) -> bool:
    """Whether this job is among that share of all; the same answer each time."""
    drawn = int.from_bytes(hashlib.sha256(job_id.encode()).digest()[:6], "big")
    return drawn < share * 2**48


def shadow_of(
    target: ShadowTarget,
    job: NewJob,
    cards: Mapping[str, ProcessorCard],
    schemas: PayloadSchemas,
    now_ms: int,
) -> NewJob | str:
    """The shadow of a job, or why it has none."""
    card = cards.get(target.processor)
    if card is None:
        return f"no worker has published a processor {target.processor}"
    if may_refer(job.payload):
        return "its payload refers to a blob, which goes with the job alone"
    try:
        schemas.check(card, decoded(msgspec.Raw(job.payload)))
    except Rejected as error:
        return f"its payload is none for {card.name}: {error}"
    app = shadow_app(job.lane.app)
    starts_ms = max(now_ms + job.delay_ms, job.run_at_ms)
    return NewJob(
        id=job_id_for_key(app, f"{job.id} {card.name}"),
        lane=Lane(card.resource_class, app, Priority.LOW, card.name, card.model),
        payload=job.payload,
        attempts_max=card.attempts_max,
        timeout_ms=card.timeout_ms,
        backoff_ms=card.backoff_ms,
        backoff_max_ms=card.backoff_max_ms,
        delay_ms=job.delay_ms,
        run_at_ms=job.run_at_ms,
        expires_at_ms=starts_ms + LIFE_MS,
        tags=(f"{TAG}{job.id}", *job.tags),
        trace=job.trace,
    )


async def shade(
    parts: GatewayParts, wanted: Sequence[tuple[NewJob, ShadowTarget]]
) -> dict[str, str]:
    """Submit the shadows of accepted jobs, as far as they can be had; their ids by job."""
    now_ms = parts.clock.now_ms()
    shadows: dict[str, NewJob] = {}
    for job, target in wanted:
        if not is_picked(job.id, target.share):
            continue
        await parts.processors.find(target.processor)  # it may have been published a moment ago
        made = shadow_of(target, job, parts.processors.rows(), parts.schemas, now_ms)
        try:
            if isinstance(made, NewJob):
                parts.acceptor.check(made.lane)
                shadows[job.id] = made
                continue
            reason = made
        except Trouble as error:
            reason = str(error)
        log.warning("a job has no shadow", extra={"job_id": job.id, "reason": reason})
    if not shadows:
        return {}
    try:
        await parts.acceptor.accept(list(shadows.values()))
    except Exception as error:  # whatever it is, the jobs themselves were accepted
        extra = {"jobs": len(shadows), "reason": repr(error)}
        log.warning("jobs have no shadows", extra=extra)
        return {}
    return {job_id: shadow.id for job_id, shadow in shadows.items()}
