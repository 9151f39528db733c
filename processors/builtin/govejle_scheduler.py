"""Decides when an issue of the newsletter is sent to a segment of its readers.

It sends nothing: the app submits its sending job with the key and the time of the answer. Asking
again for the same issue and segment gives the same key, so the issue goes out once.
"""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import msgspec

from processors.govejle.sending import QuietHours, Why, instant, sending_time, shown
from processors.sdk import (
    Context,
    InvalidInput,
    Manifest,
    ResourceClass,
    job_id_for_key,
    processor,
)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class ScheduleIn(msgspec.Struct, forbid_unknown_fields=True):
    """An issue, its readers, and the wall time at which they should have it."""

    newsletter_job: Name  # the job that wrote the issue
    send_at_local: datetime  # without an offset: wall time in `timezone`
    recipients_segment: Name
    timezone: Annotated[str, msgspec.Meta(max_length=64)] = "Europe/Copenhagen"
    quiet_hours: QuietHours | None = None
    not_before: datetime | None = None  # without an offset: wall time in `timezone`
    dry_run: bool = False  # decide only: the answer has no `job_id`


class ScheduleOut(msgspec.Struct):
    """When to send. `conflicts` tells everything that stood in the way of the time asked for."""

    scheduled_for_utc: datetime
    scheduled_for_local: str
    idempotency_key: str  # of issue and segment: submit the sending job with it
    job_id: str | None  # the id that such a job has; null in a dry run
    reason: Why
    conflicts: tuple[str, ...]


@processor(
    Manifest(
        name="govejle-scheduler",
        version="1.0.0",
        summary="Decide when an issue is sent: clock changes, quiet hours, once for each segment.",
        resource_class=ResourceClass.CPU,
        attempts_max=4,
        backoff_s=10,
        timeout_s=60,
    )
)
def govejle_scheduler(given: ScheduleIn, context: Context) -> ScheduleOut:
    """Decide; a time that lay in the past when the job was submitted is refused."""
    zone = zone_of(given.timezone)
    asked = given.send_at_local
    if asked.tzinfo is not None:
        asked = asked.astimezone(zone).replace(tzinfo=None)
    submitted = datetime.fromtimestamp(context.submitted_ms / 1_000, UTC)
    if instant(asked, zone) < submitted:
        was = shown(submitted, zone)
        raise InvalidInput(f"{asked} is in the past: the job came at {was}", "$.send_at_local")
    found = sending_time(asked, zone, given.not_before, given.quiet_hours)
    key = f"send {given.newsletter_job} to {given.recipients_segment}"
    return ScheduleOut(
        scheduled_for_utc=found.at,
        scheduled_for_local=shown(found.at, zone),
        idempotency_key=key,
        job_id=None if given.dry_run else job_id_for_key(context.app, key),
        reason=found.why,
        conflicts=found.conflicts,
    )


def zone_of(name: str) -> ZoneInfo:
    """The time zone. Raises InvalidInput for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise InvalidInput(f"{name!r} is no time zone", "$.timezone") from error
