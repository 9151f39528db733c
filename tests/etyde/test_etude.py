"""What is measured of études, and what is said of wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.etyde.etude import Brief, range_faults, read, set_faults, tune_faults
from processors.etyde.instruments import INSTRUMENTS
from processors.etyde.measures import MEASURES, Skill, difficulty, likeness, skill_fault
from processors.etyde.notation import Tune, parse

HEAD = "X:1\nT:Étude\nM:4/4\nL:1/8\nK:C\n"

# Of each skill one bar that trains it.
GOOD = {
    Skill.SIXTEENTHS: "C/D/E/F/ G/F/E/D/ C2 D2",
    Skill.DOTTED_RHYTHM: "C>D E>F G2 A2",
    Skill.TRIPLETS: "(3CDE (3FGA B2 c2",
    Skill.SYNCOPATION: "C D2 E F G2 A",
    Skill.LONG_TONES: "C4 D4",
    Skill.SCALES: "CDEF GABc",
    Skill.THIRDS: "CEDF EGFA",
    Skill.ARPEGGIOS: "CEGc GECE",
    Skill.LEAPS: "CGDA EBFc",
    Skill.OCTAVES: "CcDd EeFf",
    Skill.CHROMATIC: "C^CD^D EF^FG",
    Skill.LEGATO: "(CDEF) (GABc)",
    Skill.STACCATO: ".C.D.E.F GABc",
    Skill.DOUBLE_STOPS: "[CE]2 D2 [EG]2 F2",
}


def tune(body: str) -> Tune:
    return parse(HEAD + body)


@pytest.mark.parametrize("skill", Skill)
def test_a_skill_is_found_where_it_is_trained(skill):
    assert skill_fault(tune(GOOD[skill]), skill) == ""
    assert skill_fault(tune("C2 C2 C2 C2"), skill) != ""


def test_every_share_is_one():
    for measure in MEASURES.values():
        for body in GOOD.values():
            assert 0 <= measure.share(tune(body)) <= 1
        assert measure.share(tune("z8")) == 0


def test_harder_music_measures_harder():
    bodies = ("C4 D4", "C2 D2 E2 F2", "CDEF GABc", "C/E/G/c/ e/c/G/E/ ^C/F/_A/d/ g/d/A/F/")
    scores = [difficulty(tune(body)) for body in bodies]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert 0 <= scores[0] < scores[-1] <= 10


@given(st.lists(st.integers(50, 80), min_size=6, max_size=40), st.integers(-12, 12))
def test_a_melody_is_like_itself_in_any_key(pitches, by):
    assert likeness(pitches, [pitch + by for pitch in pitches]) == 1
    assert likeness(pitches, []) == 0


@given(*(st.lists(st.integers(50, 80), max_size=40) for _ in range(2)))
def test_likeness_is_symmetric_and_a_share(one, other):
    assert 0 <= likeness(one, other) == likeness(other, one) <= 1


BRIEF = Brief(INSTRUMENTS["cello"], 4, Skill.SCALES, 2, "C", "4/4")
LOW = HEAD.replace("K:C", "K:C clef=bass")


def test_a_good_etude_has_no_fault():
    assert tune_faults(parse(LOW + "C,D,E,F, G,A,B,C | B,A,G,F, E,D,C,2 |]"), BRIEF) == []


@pytest.mark.parametrize(
    ("abc", "said"),
    [
        (LOW + "C,D,E,F, G,A,B, | B,A,G,F, E,D,C,2", "bar 1 has 7/8"),
        (LOW + "C,D,E,F, G,A,B,C |", "it has 1 bars, not 2"),
        (LOW.replace("K:C", "K:G") + "C,D,E,F, G,A,B,C | B,A,G,F, E,D,C,2", "K: is G"),
        (LOW.replace("4/4", "2/2") + "C,D,E,F, G,A,B,C | B,A,G,F, E,D,C,2", ""),
        (LOW.replace("4/4", "3/4") + "C,D,E,F, G,A, | B,A,G,F, E,2", "M: is 3/4, not 4/4"),
        (LOW + "cdef gabc' | bagf edc2", "level 4 plays C2 to"),
        (LOW + "C,G,C,G, C,G,C,G, | C,G,C,G, C,G,C,2", "scales is asked for: 0%"),
    ],
)
def test_each_fault_is_named(abc, said):
    faults = tune_faults(parse(abc), BRIEF)
    assert said in " | ".join(faults)
    assert bool(faults) == bool(said)


def test_notes_outside_the_range_are_named_with_their_bar():
    (fault,) = range_faults(tune("C8 | d'8"), BRIEF)
    assert "not D6 in bar 2" in fault


def test_a_set_holds_no_etude_twice_and_none_that_is_as_hard():
    one = tune("CDEF GABc | BAGF EDC2")
    again = tune("DE^FG AB^cd | ^cBAG ^FED2")
    assert "étude 1 again: 100%" in " ".join(set_faults(again, [one]))
    other = tune("cBAG FEDC | DEFG ABc2")
    assert "as hard as étude 1" in " ".join(set_faults(other, [one]))
    assert set_faults(tune("C4 D4 | E4 F4"), [one]) == []


def test_what_is_no_notation_is_told_as_a_sentence():
    assert isinstance(read("Vejle"), str)
    assert isinstance(read(HEAD + "C8"), Tune)
