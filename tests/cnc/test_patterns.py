"""Spikes by arithmetic and property; the scenario, whatever the order of its errors."""

import math
import random
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.cnc.patterns import Counted, PatternIn, count_patterns
from processors.cnc.spikes import (
    DAY,
    HOUR,
    Span,
    expected_in,
    find_spike,
    is_spike,
    mean_of,
    score_of,
    tail,
    trend,
)
from tests.cnc.scenario import DEPLOYED, NAMING, SAMPLE, counted, scenario, written


@given(st.integers(1, 200), st.floats(0.05, 100))
def test_the_tail_of_the_poisson_law(count, expected):
    below = math.fsum(
        math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in range(count)
    )
    assert tail(count, expected) == pytest.approx(1 - below, abs=1e-9)
    assert tail(count + 1, expected) <= tail(count, expected) + 1e-12
    assert tail(0, expected) == 1.0


@pytest.mark.parametrize(
    ("count", "expected", "spike"),
    [
        (5, 0.0, True),
        (4, 0.0, False),  # too few, however unusual
        (5, 1.0, True),
        (5, 2.0, False),
        (25, 16.0, False),
        (40, 16.0, True),
        (140, 100.0, True),
        (139, 100.0, False),
    ],
)
def test_what_is_a_spike(count, expected, spike):
    assert is_spike(count, expected) is spike


def test_the_newest_day_counts_most_and_none_is_forgotten():
    assert mean_of([]) == 0
    assert mean_of([10, 10, 10]) == 10
    assert mean_of([0, 0, 10]) == pytest.approx(3.0)
    assert mean_of([10, 0, 0]) == pytest.approx(4.9)


def test_the_same_hour_of_earlier_days_is_what_is_usual():
    """A burst at noon each day is no spike at noon, and is one at night."""
    start = 1_000 * DAY
    baseline = Span(start, start + 5 * DAY)
    noons = [start + day * DAY + 12 * HOUR + k * 60 for day in range(5) for k in range(60)]
    noon, night = start + 5 * DAY + 12 * HOUR, start + 5 * DAY + 3 * HOUR
    assert expected_in(Span(noon, noon + 600), baseline, noons) == pytest.approx(10)
    assert expected_in(Span(night, night + 600), baseline, noons) == 0
    burst = [k * 60.0 for k in range(10)]
    at_noon = find_spike(Span(noon, noon + 600), [noon + k for k in burst], baseline, noons)
    at_night = find_spike(Span(night, night + 600), [night + k for k in burst], baseline, noons)
    assert at_noon is None
    assert at_night is not None
    assert (at_night.rate, at_night.baseline, at_night.at) == (1.0, 0.0, night)


def test_a_short_baseline_counts_by_its_mean_rate():
    assert expected_in(Span(7_200, 7_800), Span(0, 3_600), [1.0, 2.0, 3.0]) == pytest.approx(0.5)
    assert expected_in(Span(7_200, 7_800), Span(0, 0), []) == 0


@given(st.lists(st.floats(0, 0.999), max_size=200), st.floats(1, 1e6))
def test_a_trend_is_turned_round_by_turning_time_round(places, length):
    window = Span(0, length)
    forward = trend(window, [place * length for place in places])
    backward = trend(window, [(1 - place) * length for place in places])
    turned = {"rising": "falling", "falling": "rising", "steady": "steady"}
    assert backward == turned[forward]


def test_even_times_are_steady_and_late_ones_rising():
    assert trend(Span(0, 100), [float(k) for k in range(100)]) == "steady"
    assert trend(Span(0, 100), [50 + k / 2 for k in range(100)]) == "rising"
    assert trend(Span(0, 100), []) == "steady"


@given(st.integers(0, 300), st.floats(0, 300))
def test_more_is_never_less_of_a_spike(count, expected):
    assert score_of(count + 1, expected) > score_of(count, expected)
    if is_spike(count, expected):
        assert is_spike(count + 1, expected)


# ------------------------------------------------------------------ the scenario


def found(given) -> Counted:
    return count_patterns(msgspec.convert(given, PatternIn))


def test_the_samples_are_the_scenario_and_what_counting_makes_of_it():
    assert SAMPLE.read_text("utf-8") == written(), "python -m tests.cnc.scenario"
    assert NAMING.read_text("utf-8") == counted(), "python -m tests.cnc.scenario"
    assert len(scenario()["errors"]) == 1_200


def test_the_storm_is_new_and_after_the_deploy_the_leak_rises_the_health_check_is_usual():
    storm, leak, *others = found(scenario()).clusters
    assert (storm.exception, storm.count, storm.new, storm.apps) == (
        "TypeError",
        180,
        True,
        ("cnc",),
    )
    assert storm.deploy is not None
    assert (storm.deploy.version, storm.deploy.lag_s) == ("4.12.0", 47.0)
    assert storm.first - DEPLOYED == timedelta(seconds=47)
    assert (leak.exception, leak.new, leak.trend) == ("MemoryError", False, "rising")
    assert leak.deploy is None
    health = next(one for one in others if one.template.startswith("health check"))
    assert not any(one.notable for one in others)
    assert (health.spike, health.trend) == (None, "steady")


def test_every_error_of_the_window_is_counted_once():
    given = scenario()
    result = found(given)
    inside = [one for one in given["errors"] if one["at"] >= given["window"]["from"]]
    assert result.errors == len(inside)
    assert sum(cluster.count for cluster in result.clusters) + result.rare == len(inside)


@settings(max_examples=3, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_errors_changes_nothing(rng: random.Random):
    given = scenario()
    shuffled = {**given, "errors": rng.sample(given["errors"], len(given["errors"]))}
    assert msgspec.json.encode(found(shuffled)) == msgspec.json.encode(found(given))


def test_fewer_than_the_least_count_are_rare():
    given = {**scenario(), "min_count": 100}
    result = found(given)
    assert [cluster.count for cluster in result.clusters] == [180]
    assert result.rare == result.errors - 180


def test_no_error_at_all_is_an_answer_too():
    assert found({**scenario(), "errors": []}) == Counted((), 0, 0)
