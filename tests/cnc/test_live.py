"""Spikes while they happen: decided, and told by the agent, over made-up events."""

from processors.agents.error_spikes import error_spikes
from processors.cnc.live import Begun, Over, SpikeWatch
from processors.sdk.testing import job_event, run_agent

MINUTE_MS = 60_000
START_MS = 1_700_000_000_000 // MINUTE_MS * MINUTE_MS


def none() -> list[int]:
    return []


def test_a_spike_is_told_once_when_it_begins_and_once_when_it_is_over():
    watch = SpikeWatch()
    told = [watch.see("k", 10, count, none) for count in range(1, 9)]
    assert [one for one in told if one] == [Begun("k", 5, 0.0, 5.0)]
    assert watch.going == {"k"}
    assert [watch.see("k", 11, count, none) for count in range(1, 7)] == [None] * 6
    assert watch.over(13) == []
    assert watch.over(14) == [Over("k", 14, 2)]
    assert watch.going == frozenset()
    assert watch.over(15) == []


def test_what_is_usual_is_no_spike_and_is_asked_for_once_a_window():
    watch, asked = SpikeWatch(), []

    def before() -> list[int]:
        asked.append(1)
        return [10, 10, 10]

    assert [watch.see("k", 1, count, before) for count in range(1, 15)] == [None] * 14
    assert len(asked) == 1
    found = [watch.see("k", 1, count, before) for count in range(15, 30)]
    assert [one.count for one in found if one] == [23]
    assert len(asked) == 1


def test_kinds_are_kept_apart():
    watch = SpikeWatch()
    for key in ("a", "b"):
        assert [watch.see(key, 1, count, none) for count in range(1, 6)][-1] is not None
    assert watch.going == {"a", "b"}


def failures(minute, count, code="timed_out", kind="ended", processor="ask"):
    return [
        job_event(
            kind,
            START_MS + minute * MINUTE_MS + number,
            processor=processor,
            state="dead" if kind == "ended" else "delayed",
            code=code,
        )
        for number in range(count)
    ]


async def test_the_agent_tells_of_a_storm_and_of_its_end():
    usual = [event for minute in range(30) for event in failures(minute, 2)]
    storm, after = failures(30, 40), failures(35, 1)
    lines = await run_agent(error_spikes, [*usual, *storm, *after])
    begun, ended = lines
    assert (begun.level, begun.message) == ("warning", "a spike of errors")
    assert begun.fields["processor"] == "ask"
    assert begun.fields["code"] == "timed_out"
    assert begun.fields["usual"] == "2.0"
    assert int(begun.fields["count"]) < 12  # while it happens, not when the minute is over
    assert (ended.message, ended.fields["errors"]) == ("errors are as usual again", "40")


async def test_failing_attempts_count_as_dead_letters_do_and_success_does_not():
    retrying = failures(1, 5, kind="retrying")
    assert len(await run_agent(error_spikes, retrying)) == 1
    succeeded = [job_event("ended", START_MS, state="succeeded") for _ in range(50)]
    cancelled = [job_event("ended", START_MS, state="cancelled", code="x") for _ in range(50)]
    assert await run_agent(error_spikes, [*succeeded, *cancelled]) == []


async def test_what_happened_before_the_start_is_counted_and_not_told():
    storm = failures(1, 40)
    assert await run_agent(error_spikes, storm, replayed=len(storm)) == []
    later = failures(3, 6, processor="echo")
    (line,) = await run_agent(error_spikes, [*storm, *later], replayed=len(storm))
    assert line.fields["processor"] == "echo"


async def test_each_app_processor_and_code_has_a_count_of_its_own():
    mixed = [
        event
        for number in range(4)
        for event in failures(1, 1, code=f"code{number}") + failures(1, 1, processor=f"p{number}")
    ]
    assert await run_agent(error_spikes, mixed * 2) == []
