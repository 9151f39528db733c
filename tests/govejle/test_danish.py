"""Danish dates, times and prices as people write them."""

import time as clock
from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.govejle.danish import (
    MONTHS,
    WEEKDAYS,
    Prices,
    When,
    find_prices,
    find_time,
    find_whens,
    normalise,
    parse_danish,
)

TODAY = date(2026, 11, 23)  # a Monday
DAYS = st.dates(date(2026, 11, 23), date(2030, 12, 31))
CLOCKS = st.times().map(lambda t: time(t.hour, t.minute))


@pytest.mark.parametrize(
    ("phrase", "plain"),
    [
        ("fredag d. 12. juni kl. 19.30", "12 juni 19:30"),
        ("Fredag den 12. juni 2026 kl 19.30", "12 juni 2026 19:30"),
        ("12. juni 2026 kl. 19:30", "12 juni 2026 19:30"),
        ("12 JUNI klokken 9", "12 juni 09:00"),
        ("d. 1. dec. kl. 20", "1 december 20:00"),
        ("12/6-2026 kl. 19.30", "12 juni 2026 19:30"),
        ("12.06.26", "12 juni 2026"),
        ("2026-06-12", "12 juni 2026"),
        ("den 3. sept. 2027, dørene åbner kl. 18, start kl. 19", "3 september 2027 19:00"),
        ("kl. 19.30", None),
        ("hver torsdag", None),
    ],
)
def test_a_phrase_is_put_in_the_form_that_dateparser_reads(phrase: str, plain: str | None) -> None:
    assert normalise(phrase) == plain


@pytest.mark.parametrize(
    ("phrase", "moment"),
    [
        ("fredag d. 11. december kl. 20.00", datetime(2026, 12, 11, 20)),
        ("onsdag d. 3. februar kl. 19", datetime(2027, 2, 3, 19)),
        ("fredag d. 12. juni kl. 19.30", datetime(2026, 6, 12, 19, 30)),
        ("12. juni kl. 19.30", datetime(2027, 6, 12, 19, 30)),
        ("1. november", datetime(2026, 11, 1)),
        ("29. februar", datetime(2028, 2, 29)),
        ("31. februar", None),
        ("32. maj 2027", None),
        ("12/13-2027", None),
    ],
)
def test_a_missing_year_is_that_of_the_weekday_or_the_next(
    phrase: str, moment: datetime | None
) -> None:
    today = date(2026, 5, 20) if "fredag d. 12. juni" in phrase else TODAY
    assert parse_danish(phrase, today) == moment


@given(
    DAYS,
    CLOCKS,
    st.booleans(),
    st.sampled_from(["kl. {:%H.%M}", "kl {:%H:%M}", "klokken {:%H.%M}"]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_out_is_read_back(day: date, at: time, caps: bool, form: str) -> None:
    written = (
        f"{WEEKDAYS[day.weekday()]} den {day.day}. {MONTHS[day.month - 1]} {day.year} "
        + form.format(at)
    )
    phrase = written.upper() if caps else written
    assert parse_danish(phrase, TODAY) == datetime.combine(day, at)


@given(st.dates(TODAY, TODAY + timedelta(days=300)))
@settings(max_examples=60, deadline=None)
def test_a_year_is_found_for_every_day_of_the_coming_months(day: date) -> None:
    for phrase in (
        f"{day.day}. {MONTHS[day.month - 1]}",
        f"{WEEKDAYS[day.weekday()]} d. {day.day}. {MONTHS[day.month - 1][:3]}.",
    ):
        assert parse_danish(phrase, TODAY) == datetime.combine(day, time())


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_text_raises_or_makes_up_a_day(text: str) -> None:
    if not any(character.isdigit() for character in text):
        assert find_whens(text, TODAY) == []
    else:
        find_whens(text, TODAY)
    find_prices([text])


@pytest.mark.parametrize(
    ("text", "whens"),
    [
        ("Onsdag d. 3. februar kl. 19-20.30", [When(date(2027, 2, 3), time(19), time(20, 30))]),
        (
            "Torsdag 28. januar 2027, 16:30 – 19:00",
            [When(date(2027, 1, 28), time(16, 30), time(19))],
        ),
        ("12.-14. februar 2027", [When(date(2027, 2, 12), None, None, date(2027, 2, 14))]),
        ("12. juni - 3. august 2027", [When(date(2027, 6, 12), None, None, date(2027, 8, 3))]),
        (
            "1. december kl. 10 og 2. december kl. 11",
            [When(date(2026, 12, 1), time(10)), When(date(2026, 12, 2), time(11))],
        ),
        ("12. og 13. juni 2027", [When(date(2027, 6, 12), None, None, date(2027, 6, 13))]),
        ("Ring på 75 83 12 12 eller 7100 Vejle", []),
        ("Version 1.2.3 fra 10.10", []),
    ],
)
def test_days_are_found_with_their_times(text: str, whens: list[When]) -> None:
    assert find_whens(text, TODAY) == whens


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("kl. 19.30", (time(19, 30), None)),
        ("kl. 24", (time(0), None)),
        ("kl. 25", (None, None)),
        ("Dørene åbner kl. 18.30", (None, None)),
        ("Dørene åbner kl. 18.30. Koncerten starter kl. 20.", (time(20), None)),
        ("19.30", (None, None)),
        ("150.00-200.00", (None, None)),
    ],
)
def test_the_time_is_never_that_of_the_doors(
    text: str, times: tuple[time | None, time | None]
) -> None:
    assert find_time(text) == times


@pytest.mark.parametrize(
    ("lines", "prices"),
    [
        (["Billetter: 150 kr."], Prices(150, 150, False)),
        (["Pris: 95,50 kr. / 1.250 kr."], Prices(95.5, 1250, False)),
        (["Entré kr. 80,-"], Prices(80, 80, False)),
        (["Pris:", "Fra 295,- til 495,-"], Prices(295, 495, False)),
        (["150 kr."], Prices(150, 150, False)),
        (["Entré: 0 kr."], Prices(0, 0, True)),
        (["Gratis"], Prices(is_free=True)),
        (["Fri entré"], Prices(is_free=True)),
        (["Der er gratis adgang for alle."], Prices(is_free=True)),
        (["Gratis adgang for børn under 12"], Prices()),
        (["Der er gratis adgang, men kaffen koster 25 kr."], Prices(is_free=True)),
        (["Øl 30 kr. og kaffe 25 kr. i caféen"], Prices()),
        (["Billetter 150 kr. plus gebyr"], Prices()),
        (["Billetter 150 kr. Gebyr 10 kr."], Prices(150, 150, False)),
        (["Billetter 150 kr. Studerende 100 kr."], Prices(100, 150, False)),
        (["Billetter købes i døren. Kaffe 25 kr."], Prices()),
        (["Gratis parkering"], Prices()),
        (["Kommunen giver 2 mio. kr. i billetstøtte"], Prices()),
        (["Billetter købes i døren"], Prices()),
    ],
)
def test_a_price_is_that_of_admission_or_none(lines: list[str], prices: Prices) -> None:
    assert find_prices(lines) == prices


@pytest.mark.parametrize(
    "hostile", ["1" * 20_000, "kl. " * 5_000, "fredag d. " * 2_000, "1. " * 7_000]
)
def test_hostile_lines_take_no_time(hostile: str) -> None:
    began = clock.monotonic()
    find_whens(hostile, TODAY)
    find_prices([hostile])
    assert clock.monotonic() - began < 2.0
