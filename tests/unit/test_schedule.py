"""When ticks are, and which of those that are due run: tables, and what holds for any schedule."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cron import LINE_MAX, check_line, zone_of
from streams.errors import InvalidInput
from streams.schedule import (
    BACKLOG_MAX,
    LAST_MS,
    ON_TIME_MS,
    Misfire,
    Plan,
    Schedule,
    Timing,
    check,
    instants,
    plan,
    run_ms,
)
from tests.support.schedules import COPENHAGEN, between, moment, on_the_wall, schedule

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = moment("2026-11-23 12:00")
LORD_HOWE, SANTIAGO, APIA = "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"

GAPS_AND_OVERLAPS = [
    # What names a time of day: once, and at once when it was leapt over.
    ("30 2 * * *", COPENHAGEN, "2026-03-28 12:00", "03-29 03:00 +0200, 03-30 02:30 +0200"),
    ("0,30 2,3 * * *", COPENHAGEN, "2026-03-28 12:00", "03-29 03:00 +0200, 03-29 03:30 +0200"),
    ("30 2 * * *", COPENHAGEN, "2026-10-24 12:00", "10-25 02:30 +0200, 10-26 02:30 +0100"),
    ("30 2 * * *", COPENHAGEN, "2026-10-25T02:10+01:00", "10-26 02:30 +0100, 10-27 02:30 +0100"),
    # What speaks of every minute or hour: as often as the wall shows it.
    ("*/30 * * * *", COPENHAGEN, "2026-03-29 01:29", "03-29 01:30 +0100, 03-29 03:00 +0200"),
    ("*/30 2 * * *", COPENHAGEN, "2026-03-28 12:00", "03-30 02:00 +0200, 03-30 02:30 +0200"),
    ("45 * * * *", COPENHAGEN, "2026-10-25T02:00+02:00", "10-25 02:45 +0200, 10-25 02:45 +0100"),
    ("45 * * * *", COPENHAGEN, "2026-10-25T02:00+01:00", "10-25 02:45 +0100, 10-25 03:45 +0100"),
    # Half an hour; a gap at midnight; a day that never was.
    ("*/20 * * * *", LORD_HOWE, "2026-04-05 01:35", "04-05 01:40 +1100, 04-05 01:40 +1030"),
    ("15 2 * * *", LORD_HOWE, "2026-10-03 12:00", "10-04 02:30 +1100, 10-05 02:15 +1100"),
    ("0 0 * * *", SANTIAGO, "2026-09-05 12:00", "09-06 01:00 -0300, 09-07 00:00 -0300"),
    ("0 12 * * *", APIA, "2011-12-29 13:00", "12-31 00:00 +1400, 12-31 12:00 +1400"),
]


@pytest.mark.parametrize(("line", "zone", "after", "expected"), GAPS_AND_OVERLAPS)
def test_the_clocks_change(line: str, zone: str, after: str, expected: str) -> None:
    found = islice(instants(Timing(cron=line, zone=zone), moment(after, zone)), 2)
    assert ", ".join(on_the_wall(at, zone)[5:] for at in found) == expected


def test_an_interval_is_counted_from_the_epoch_or_from_its_start() -> None:
    found = between(Timing(every_ms=45 * MINUTE), NOW, NOW + 2 * HOUR)
    assert [at % (45 * MINUTE) for at in found] == [0, 0, 0]
    timing = Timing(every_ms=45 * MINUTE, starts_ms=NOW + 7)
    assert between(timing, NOW, NOW + HOUR) == [NOW + 7, NOW + 7 + 45 * MINUTE]


def test_bounds() -> None:
    timing = Timing(cron="0 * * * *", starts_ms=NOW + HOUR, ends_ms=NOW + 3 * HOUR)
    assert list(instants(timing, 0)) == [NOW + HOUR, NOW + 2 * HOUR]
    assert list(instants(Timing(cron="* * * * *"), LAST_MS)) == []


@pytest.mark.parametrize(
    ("timing", "path", "sentence"),
    [
        (Timing(), "$.cron", "either"),
        (Timing(cron="* * * * *", every_ms=5_000), "$.cron", "not both"),
        (Timing(cron="0 0 31 2 *"), "$.cron", "never due"),
        (Timing(cron="0 0 0 31 4,6 *"), "$.cron", "never due"),
        (Timing(cron="0 0 31 2"), "$.cron", "five fields"),
        (Timing(cron="@daily"), "$.cron", "five fields"),
        (Timing(cron="61 * * * *"), "$.cron", "bad minute"),
        (Timing(cron="0 0 32 * *"), "$.cron", "bad day-of-month"),
        (Timing(cron="0 0 * * MOO"), "$.cron", "bad day-of-week"),
        (Timing(cron="0," * LINE_MAX + "0 * * * *"), "$.cron", "at most 200"),
        (Timing(every_ms=999), "$.every_s", "one second"),
        (Timing(every_ms=5_000, zone="Europe/Aarhus"), "$.zone", "no time zone"),
        (Timing(every_ms=5_000, zone="../../etc/passwd"), "$.zone", "no time zone"),
        (Timing(every_ms=5_000, starts_ms=NOW + 5, ends_ms=NOW + 5), "$.ends_at", "before"),
        (Timing(every_ms=5_000, ends_ms=NOW - 5), "$.ends_at", "no instant"),
        (Timing(every_ms=HOUR, ends_ms=NOW + MINUTE), "$.ends_at", "no instant"),
        (Timing(every_ms=5_000, jitter_ms=5_001), "$.jitter_s", "the 5 s between"),
        (Timing(cron="0 9,10 * * *", jitter_ms=HOUR + 1), "$.jitter_s", "the 3600 s between"),
    ],
)
def test_what_is_no_timing(timing: Timing, path: str, sentence: str) -> None:
    with pytest.raises(InvalidInput, match=sentence) as caught:
        check(timing, NOW)
    assert caught.value.path == path


def test_what_is_a_timing() -> None:
    check(Timing(cron="0 0 29 2 MON#5", zone=COPENHAGEN), NOW)  # in 2044
    check(Timing(cron="0 9,10 * * *", jitter_ms=HOUR), NOW)
    check(Timing(every_ms=1_000, jitter_ms=1_000), NOW)


@given(st.text(st.sampled_from("0159*/-,#L? MONJAN\u00b2\u0663"), max_size=20))
def test_any_text_is_a_line_or_refused(text: str) -> None:
    try:
        check_line(text)
    except InvalidInput:
        return
    assert next(instants(Timing(cron=text, zone=COPENHAGEN), NOW)) > NOW


def test_jitter_is_the_same_everywhere_and_spreads() -> None:
    jittered = schedule(every_ms=MINUTE, jitter_ms=MINUTE)
    late = [run_ms(jittered, at) - at for at in range(0, 1_000 * MINUTE, MINUTE)]
    assert late[:3] == [50_906, 57_712, 5_670]
    assert all(0 <= each < MINUTE for each in late)
    assert len({each // 6_000 for each in late}) == 10
    assert run_ms(schedule("other", every_ms=MINUTE, jitter_ms=MINUTE), 0) != 50_906


# ---------------------------------------------------------------- what runs


def minutes(planned: Plan | None, since: int) -> tuple[list[float], int, float]:
    """The minutes at which ticks were due, how many were missed, the next minute."""
    assert planned is not None
    ticks = [(at - since) / MINUTE for at in planned.ticks]
    return ticks, planned.missed, (planned.next_ms - since) / MINUTE


@pytest.mark.parametrize(
    ("misfire", "fields", "late_ms", "ran", "missed", "following"),
    [
        ("skip", {}, 0, [0], 0, 10),
        ("skip", {}, ON_TIME_MS, [0], 0, 10),
        ("skip", {}, ON_TIME_MS + 1, [], 1, 10),
        ("latest", {}, ON_TIME_MS + 1, [0], 0, 10),
        ("all", {}, ON_TIME_MS + 1, [0], 0, 10),
        # Four are due, the last of them on time.
        ("skip", {}, 30 * MINUTE, [30], 3, 40),
        ("latest", {}, 30 * MINUTE, [30], 3, 40),
        ("all", {}, 30 * MINUTE, [0, 10, 20, 30], 0, 40),
        ("all", {"misfire_max": 2}, 30 * MINUTE, [10, 20, 30], 1, 40),
        ("all", {"misfire_window_ms": 15 * MINUTE}, 30 * MINUTE, [20, 30], 2, 40),
        # Four are due, and none is on time.
        ("skip", {}, 35 * MINUTE, [], 4, 40),
        ("latest", {}, 35 * MINUTE, [30], 3, 40),
        ("all", {"misfire_max": 2}, 35 * MINUTE, [20, 30], 2, 40),
        ("latest", {"misfire_window_ms": 0}, 35 * MINUTE, [30], 3, 40),
    ],
)
def test_misfires(
    misfire: str, fields: dict[str, int], late_ms: int, ran: list[int], missed: int, following: int
) -> None:
    given = schedule(every_ms=10 * MINUTE, starts_ms=NOW, misfire=Misfire(misfire), **fields)
    assert minutes(plan(given, NOW, NOW + late_ms), NOW) == (ran, missed, following)


def test_nothing_is_due_before_its_time() -> None:
    assert plan(schedule(), NOW, NOW - 1) is None
    jittered = schedule(jitter_ms=30_000)
    runs = run_ms(jittered, NOW)
    assert runs > NOW
    assert plan(jittered, NOW, runs - 1) is None
    assert minutes(plan(jittered, NOW, runs), NOW) == ([0], 0, 1)


def test_the_last_tick_has_no_next() -> None:
    ending = schedule(starts_ms=NOW, ends_ms=NOW + 1)
    assert plan(ending, NOW, NOW) == Plan((NOW,), 0, NOW, 0)


def test_many_ticks_are_fired_in_several_calls() -> None:
    everything = schedule(misfire=Misfire.ALL, misfire_max=1_000, starts_ms=NOW)
    now, at, calls = NOW + 249 * MINUTE, NOW, []
    while (planned := plan(everything, at, now)) is not None:
        calls.append(len(planned.ticks))
        assert planned.until_ms == planned.ticks[-1]
        at = planned.next_ms
    assert calls == [100, 100, 50]


@pytest.mark.parametrize("line", ["* * * * * *", "*/7 * * * * *", "* * * * *", "* * 3 1 1 *"])
@pytest.mark.parametrize("misfire", Misfire)
def test_after_years_only_the_newest_are_looked_at(line: str, misfire: Misfire) -> None:
    years = 40 * 365 * DAY
    given = schedule(cron=line, misfire=misfire, misfire_window_ms=years)
    first = next(instants(given.timing, NOW - years))
    planned = plan(given, first, NOW, ticks_max=1_000)
    assert planned is not None
    newest = between(given.timing, NOW - 2 * 366 * DAY if "1 1" in line else NOW - 2 * HOUR, NOW)
    on_time = [at for at in newest if at >= NOW - ON_TIME_MS]
    made_up = {Misfire.SKIP: 0, Misfire.LATEST: 0 if on_time else 1, Misfire.ALL: 100}[misfire]
    assert list(planned.ticks) == newest[len(newest) - len(on_time) - made_up :]
    assert planned.missed <= BACKLOG_MAX
    assert planned.next_ms > NOW


# ---------------------------------------------------------------- properties

lines = st.sampled_from(
    [
        *("30 2 * * *", "0,30 2,3 * * *", "*/30 * * * *", "*/15 2 * * *", "0 */2 * * *"),
        *("0 3 * * 7", "*/20 30 2 * * *", "0 0 * * *", "10 0-3 * * *", "59 59 23 * * *"),
    ]
)
zones = st.sampled_from([COPENHAGEN, LORD_HOWE, SANTIAGO, "America/New_York", "Africa/Casablanca"])
timings = st.one_of(
    st.builds(lambda line, zone: Timing(cron=line, zone=zone), lines, zones),
    st.builds(
        lambda every, start: Timing(every_ms=every, starts_ms=start),
        st.integers(10 * MINUTE, 2 * DAY),
        st.integers(0, NOW),
    ),
)
weeks = st.sampled_from(["2026-03-27 20:00", "2026-04-03 20:00", "2026-10-23 20:00"])
moments = st.lists(st.integers(0, 4 * DAY), max_size=8)


@given(timings, weeks, moments)
def test_any_partition_of_time_has_the_same_instants(
    timing: Timing, week: str, cuts: list[int]
) -> None:
    first = moment(week)
    last = first + 4 * DAY
    whole = between(timing, first, last)
    assert whole == sorted(set(whole))
    at, found = first, []
    for cut in [*sorted(first + cut for cut in cuts), last]:
        found += between(timing, at, cut)
        at = cut
    assert found == whole


@given(timings, weeks, moments, st.booleans())
def test_whoever_fires_whenever_makes_each_tick_once(
    timing: Timing, week: str, looks: list[int], jittered: bool
) -> None:
    """Looks at any times, forwards and backwards, as of machines whose clocks are wrong."""
    first = moment(week)
    last = first + 4 * DAY
    timing = Timing(
        timing.cron, timing.every_ms, timing.zone, timing.starts_ms, 0, MINUTE * jittered
    )
    given = schedule_of(timing)
    at, fired = next(instants(timing, first)), []
    for look in [*(first + look for look in looks), last + HOUR]:
        while (planned := plan(given, at, look)) is not None:
            fired += planned.ticks
            at = planned.next_ms
    expected = between(timing, first, last + HOUR)
    assert fired == [each for each in expected if run_ms(given, each) <= last + HOUR]


def schedule_of(timing: Timing) -> Schedule:
    return Schedule(
        "etyde",
        "any",
        timing,
        schedule().job,
        misfire=Misfire.ALL,
        misfire_window_ms=10 * DAY,
        misfire_max=1_000,
    )


def test_a_zone_is_that_of_the_package_and_read_once() -> None:
    assert zone_of(COPENHAGEN) is zone_of(COPENHAGEN)
    assert str(zone_of(COPENHAGEN)) == COPENHAGEN
