"""When an issue is sent: clock changes of Copenhagen, quiet hours, once for issue and segment."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import processors.builtin
from processors.builtin.govejle_scheduler import govejle_scheduler
from processors.govejle.sending import QuietHours, Why, first_valid, quiet_until, sending_time
from processors.sdk.testing import run_processor
from streams.errors import InvalidInput
from streams.ids import job_id_for_key

SAMPLES = Path(processors.builtin.__file__).parent / "samples" / "govejle-scheduler"
ZONE = ZoneInfo("Europe/Copenhagen")
NIGHT = QuietHours("21:00", "07:00")
LOCAL = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)).map(
    lambda moment: moment.replace(second=0, microsecond=0)
)


async def result(payload: object) -> dict[str, Any]:
    found = (await run_processor(govejle_scheduler, payload)).result
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("sample", "at", "reason"),
    [
        ("fold", "2027-10-31T00:30:00Z", "dst_fold"),
        ("gap", "2027-03-28T01:00:00Z", "dst_gap"),
        ("quiet", "2026-12-04T06:00:00Z", "quiet_hours"),
    ],
)
async def test_the_samples(sample: str, at: str, reason: str) -> None:
    found = await result((SAMPLES / f"{sample}.json").read_bytes())
    assert (found["scheduled_for_utc"], found["reason"]) == (at, reason)
    assert found["conflicts"]
    assert (found["job_id"] is None) == (sample == "gap")


async def test_the_same_issue_and_segment_are_one_job_whatever_the_time() -> None:
    asked = {"newsletter_job": "0-1", "recipients_segment": "all"}
    first = await result({**asked, "send_at_local": "2027-01-01T10:00:00"})
    moved = await result({**asked, "send_at_local": "2027-01-02T10:00:00"})
    other = await result(
        {**asked, "recipients_segment": "some", "send_at_local": "2027-01-02T10:00:00"}
    )
    assert first["job_id"] == moved["job_id"] == job_id_for_key("test", first["idempotency_key"])
    assert other["job_id"] != first["job_id"]
    assert first["reason"] == "as_asked"
    assert first["conflicts"] == []


async def test_times_with_an_offset_and_not_before() -> None:
    asked = {"newsletter_job": "0-1", "recipients_segment": "all"}
    found = await result(
        {
            **asked,
            "send_at_local": "2027-06-01T08:00:00Z",
            "not_before": "2027-06-01T12:00:00",
        }
    )
    assert found["scheduled_for_local"] == "2027-06-01 12:00+02:00"
    assert found["reason"] == "not_before"


@pytest.mark.parametrize(
    ("field", "value"), [("send_at_local", "1969-12-31T10:00:00"), ("timezone", "Mars/Olympus")]
)
async def test_the_past_and_zones_that_are_none_are_refused(field: str, value: str) -> None:
    asked = {
        "newsletter_job": "0-1",
        "recipients_segment": "all",
        "send_at_local": "2027-01-01T10:00:00",
        field: value,
    }
    ending = await run_processor(govejle_scheduler, asked)
    assert isinstance(ending.error, InvalidInput)
    assert ending.error.path == f"$.{field}"


@given(LOCAL)
def test_an_instant_shows_the_wall_time_asked_for_unless_the_clock_skips_it(
    asked: datetime,
) -> None:
    at, why, _ = first_valid(asked, ZONE)
    shown = at.astimezone(ZONE).replace(tzinfo=None)
    if why is Why.GAP:
        assert shown > asked
        assert (at - timedelta(seconds=1)).astimezone(ZONE).replace(tzinfo=None) < asked
    else:
        assert shown == asked
    if why is Why.FOLD:
        assert (at + timedelta(hours=1)).astimezone(ZONE).replace(tzinfo=None) == asked


@given(LOCAL, st.times(), st.times())
def test_nothing_is_sent_in_quiet_hours_or_before_it_is_asked(
    asked: datetime, start: time, end: time
) -> None:
    quiet = QuietHours(f"{start:%H:%M}", f"{end:%H:%M}")
    found = sending_time(asked, ZONE, None, quiet)
    assert found.at >= first_valid(asked, ZONE)[0]
    local = found.at.astimezone(ZONE)
    assert quiet_until(local, quiet) is None or found.why is Why.QUIET_HOURS
    assert found.at.tzinfo is UTC


def test_the_night_ends_in_the_morning() -> None:
    for clock, until in ((time(22), 2), (time(3), 1)):
        ends = quiet_until(datetime.combine(datetime(2027, 1, 1), clock), NIGHT)
        assert ends == datetime(2027, 1, until, 7)
    assert quiet_until(datetime(2027, 1, 1, 12), NIGHT) is None
