"""ABC notation: what is read, and what is said of what cannot be."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.etyde.keys import same_key, sharps_of, signature
from processors.etyde.notation import NotationError, parse, uneven_bars

HEAD = "X:1\nT:Étude\nM:4/4\nL:1/8\nK:{}\n"


def tune(body: str, key: str = "C", **fields: str):
    head = HEAD.format(key)
    for name, value in fields.items():
        head = "\n".join(
            f"{name}:{value}" if line.startswith(f"{name}:") else line for line in head.split("\n")
        )
    return parse(head + body)


def lengths(body: str, **fields: str) -> list[str]:
    return [str(note.length) for note in tune(body, **fields).notes]


@pytest.mark.parametrize(
    ("body", "key", "pitches"),
    [
        ("C D E F | G A B c", "C", [60, 62, 64, 65, 67, 69, 71, 72]),
        ("C, c' C,, c''", "C", [48, 84, 36, 96]),
        ("F C F c", "D", [66, 61, 66, 73]),
        ("B E A B", "Eb", [70, 63, 68, 70]),
        ("^F F | F", "C", [66, 66, 65]),  # an accidental holds for its bar
        ("^F f F,", "C", [66, 77, 53]),  # and for its octave
        ("=F _F __F ^^F", "G", [65, 64, 63, 67]),
        ("[CEG]2 z2 C", "C", [67, 60]),  # a chord counts by its top, a rest not at all
        ("C-C D", "C", [60, 62]),  # a tied note does not begin anew
        ("F", "Am", [65]),
        ("F", "A dorian", [66]),
        ("F", "D mix clef=bass", [66]),
    ],
)
def test_pitches(body, key, pitches):
    assert tune(body, key).pitches == pitches


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("C C2 C/ C// C3/2 C/4", ["1/8", "1/4", "1/16", "1/32", "3/16", "1/32"]),
        ("C>D C<D C>>D", ["3/16", "1/16", "1/16", "3/16", "7/32", "1/32"]),
        ("(3CDE (5CDEFG", ["1/12"] * 3 + ["1/20"] * 5),
        ("(3:2:2C2D", ["1/6", "1/12"]),
        ("z4 x4", ["1/2", "1/2"]),
        ("[CE]2 [C2E2]2", ["1/4", "1/2"]),
        ("[L:1/4] C [L:1/16] C", ["1/4", "1/16"]),
        ('"Am"{ag}!trill!C2 ~D .E', ["1/4", "1/8", "1/8"]),
    ],
)
def test_lengths(body, expected):
    assert lengths(body) == expected


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("C8 | D8 |]", 2),
        ("|: C8 | D8 :|: E8 :: F8 :|", 4),
        ("|: C8 |1 D8 :|2 E8 |]", 3),
        ("C8 | [1 D8 :| [2 E8 ||", 3),
        ("Z3 | C8", 4),
        ("C4 D4 | % a comment | |\n| D8 |", 2),
        ("C8 |\nw: la\nM:3/4\nC6 |", 2),
    ],
)
def test_bars(body, count):
    found = tune(body)
    assert len(found.bars) == count
    assert uneven_bars(found) == []


def test_an_upbeat_may_complete_the_last_bar_and_nothing_else_may_be_short():
    assert uneven_bars(tune("C2 | D8 | E6 |]")) == []
    assert uneven_bars(tune("D8 | E6 | F8")) == ["bar 2 has 3/4 of a whole note, the metre 1"]
    assert len(uneven_bars(tune("C2 | D8 | E8 |]"))) == 1
    assert uneven_bars(tune("C3 | D", M="none")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Vejle koncert", "no field"),
        ("X:1\nT:A\nK:C\nC", "lacks M:"),
        (HEAD.format("C"), "no notes"),
        (HEAD.format("H") + "C", "no key"),
        (HEAD.format("C foo") + "C", "unknown mode"),
        (HEAD.format("C") + "C8 | D & E |", "bar 2: '& E |' is not understood"),
        (HEAD.format("C") + "C8 | D4 h |", "bar 2: 'h |'"),
        (HEAD.format("C") + "C (3D E", "within a tuplet"),
        (HEAD.format("C") + "> C", "between no two notes"),
        (HEAD.format("C") + "C > | D", "within a broken rhythm"),
        (HEAD.format("C") + "C) D", "was not begun"),
        (HEAD.format("C") + "C0 D", "no length"),
        (HEAD.format("C") + "V:2\nC", "V: in the body"),
        (HEAD.format("C") + "(3C (3D E F G", "tuplet within a tuplet"),
        (HEAD.format("C").replace("4/4", "4/3") + "C", "M:4/3 is no metre"),
        (HEAD.format("C").replace("1/8", "1/3") + "C", "L:1/3 is no note length"),
    ],
)
def test_what_is_wrong_is_said_and_where(text, said):
    with pytest.raises(NotationError) as raised:
        parse(text)
    assert said in str(raised.value)


@given(st.text(alphabet="ABCabcz^_=',/|:[](){}<>-23456 \n\"!.XZ", max_size=60))
def test_any_text_is_a_tune_or_a_notation_error(body):
    try:
        found = tune(body)
    except NotationError:
        return
    assert all(note.length > 0 for note in found.notes)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.sampled_from(["1/8", "1/16"]))
def test_what_is_written_in_units_is_read_in_units(units, unit):
    found = tune(" ".join(f"C{count}" for count in units), L=unit)
    assert [note.length / Fraction(unit) for note in found.notes] == units


@pytest.mark.parametrize(
    ("key", "count"),
    [
        *(("C", 0), ("G", 1), ("F#", 6), ("Bb", -2), ("Bbm", -5), ("Em", 1), ("E minor", 1)),
        *(("none", 0), ("D dor", 0), ("A lydian", 4), ("C#", 7), ("G clef=treble", 1)),
    ],
)
def test_keys(key, count):
    assert sharps_of(key) == count
    assert len(signature(key)) == abs(count)


def test_relative_keys_are_not_the_same():
    assert same_key("G", "G major")
    assert same_key("Am", "A minor")
    assert not same_key("C", "Am")
    assert not same_key("C", "Cm")
