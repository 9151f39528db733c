"""`roughneck processors run` and `new`: what runs, what is said where, every exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ops.cli.program import run
from ops.rehearsal.cast import find_cast
from ops.rehearsal.play import Terms, rehearse
from ops.settings import load
from ops.sim_ollama import SimConfig, SimServer

FLOW = '''
"""A flow whose stages fan out, fail and go on."""

import msgspec

from processors.sdk import Each, Manifest, NamedFlow, OnFailure, Rejected, Stage, processor


class Number(msgspec.Struct):
    value: int


class Numbers(msgspec.Struct):
    values: list[int | None]


class Given(msgspec.Struct):
    numbers: tuple[int, ...] = (4, 3, 6)


@processor(Manifest(name="halve", version="1", summary="Halve an even number."))
async def halve(given: Number) -> int:
    if given.value % 2:
        raise Rejected(f"{given.value} is odd")
    return given.value // 2


@processor(Manifest(name="add-up", version="1", summary="Add."))
async def add_up(given: Numbers) -> int:
    return sum(value or 0 for value in given.values)


def flow(policy):
    return (
        Stage(
            "half",
            "halve",
            each=Each(path="/numbers"),
            payload={"value": {"$item": ""}},
            on_failure=policy,
        ),
        Stage("sum", "add-up", payload={"values": {"$result": "half"}}),
    )


FLOW = NamedFlow(
    name="halves", version="2", summary="Halves.", input=Given, stages=flow(OnFailure.POLICY)
)
'''


class Ran(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ran:
        code = run(["processors", *arguments])
        return Ran(code, *capsys.readouterr())

    return call


def test_a_sample_runs_and_only_its_result_is_on_standard_output(cli):
    ran = cli("run", "echo", "--sample", "progress", "-o", "json")
    assert ran.code == 0
    assert json.loads(ran.out)["message"] == "three steps"
    assert "67% step 2" in ran.err
    assert "succeeded in" in ran.err


def test_without_a_name_the_plain_sample_is_meant(cli):
    ran = cli("run", "echo", "--sample")
    assert (ran.code, "Hej fra Vejle" in ran.out) == (0, True)


def test_every_sample_is_told_in_a_table(cli, tmp_path):
    samples = tmp_path / "samples" / "halve"
    samples.mkdir(parents=True)
    (samples / "even.json").write_text('{"value": 4}')
    (samples / "odd.json").write_text('{"value": 3}')
    (tmp_path / "halves.py").write_text(FLOW.replace("POLICY", "FAIL"))
    folders = f'[processors]\nfolders = ["{tmp_path}"]\n'
    (tmp_path / "roughneck.toml").write_text(folders)
    ran = cli("run", "halve", "--sample", "all", "-o", "json")
    assert ran.code == 1
    even, odd = json.loads(ran.out)
    assert (even["sample"], even["result"], even["fault"]) == ("even", 2, None)
    assert odd["fault"] == {"code": "rejected", "message": "3 is odd"}
    assert "failed on odd" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "echo"], 2, "either --sample or --input"),
        (["run", "echo", "--sample", "--input", "{}"], 2, "either --sample or --input"),
        (["run", "ecko", "--sample"], 2, "did you mean echo?"),
        (["run", "echo", "--sample", "nope"], 2, "there are bad_result, block"),
        (["run", "echo", "--sample", "./nope.json"], 2, "No such file"),
        (["run", "./nope.py", "--sample"], 2, "no file nope.py"),
        (["run", "echo", "--input", "{"], 2, "no JSON"),
        (["run", "echo", "--input", '{"message": 1}'], 2, "at `$.message`"),
        (["run", "echo", "--sample", "permanent"], 1, "rejected: asked to fail for good"),
        (["run", "echo", "--sample", "block", "--timeout", "0.1"], 4, "longer than 0.1 s"),
    ],
)
def test_each_ending_has_its_exit_code_and_says_why(cli, arguments, code, said):
    ran = cli(*arguments)
    assert ran.code == code
    assert said in ran.err
    assert ran.out == ""


def test_a_simulator_is_started_where_no_ollama_answers_and_the_run_says_so(cli, tmp_path):
    (tmp_path / "roughneck.toml").write_text('[ollama]\nurl = "http://127.0.0.1:9"\n')
    ran = cli("run", "ask", "--input", '{"prompt": "Hvad er en fjord?"}', "-o", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["answer"].startswith("Du spørger: »Hvad er en fjord?«")
    assert "model: the simulator, started for this run" in ran.err


def test_the_answers_of_a_sample_are_what_the_simulator_says(cli, tmp_path):
    (tmp_path / "roughneck.toml").write_text('[ollama]\nurl = "http://127.0.0.1:9"\n')
    (tmp_path / "answers").mkdir()
    (tmp_path / "fjord.json").write_text('{"prompt": "Hvad er en fjord?", "format": "json"}')
    (tmp_path / "answers" / "fjord.json").write_text('[{"long": true}]')
    ran = cli("run", "ask", "--sample", "./fjord.json", "-o", "json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["parsed"] == {"long": True}


def test_an_ollama_that_answers_is_used_and_named(cli, tmp_path):
    with SimServer(config=SimConfig(speed=100)).in_thread() as url:
        (tmp_path / "roughneck.toml").write_text(
            f'[ollama]\nurl = "{url}"\n[ollama.models.gen]\ntag = "llama3.1:8b"\n'
        )
        ran = cli("run", "ask", "--input", '{"prompt": "Hej", "max_tokens": 1}')
    assert ran.code == 0, ran.err
    assert f"model: a simulator at {url}" in ran.err


@pytest.mark.parametrize(
    ("policy", "code", "said"),
    [("CONTINUE", 0, "item 1: rejected: 3 is odd"), ("FAIL", 1, "stage half: rejected: 3 is odd")],
)
def test_a_flow_runs_stage_by_stage_and_keeps_its_policy(cli, tmp_path, policy, code, said):
    (tmp_path / "halves.py").write_text(FLOW.replace("POLICY", policy))
    ran = cli("run", "./halves.py", "--input", "{}", "-o", "json")  # its default
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert ran.out.strip() == ("5" if code == 0 else "")


def test_new_processors_pass_their_own_tests_and_run_on_their_samples(cli, tmp_path):
    for resource_class in ("io", "cpu", "ollama"):
        made = cli("new", f"sum-{resource_class}", "--class", resource_class)
        assert made.code == 0, made.err
        ran = cli("run", f"./sum_{resource_class}.py", "--sample", "--simulated")
        assert ran.code == 0, ran.err
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "6 passed" in tested.stdout, tested.stdout
    again = cli("new", "sum-io")
    assert (again.code, "exists already" in again.err) == (2, True)


@pytest.mark.parametrize("name", ["Sum", "sum up", "1st", "class", "-"])
def test_a_name_that_no_processor_can_have_is_refused(cli, tmp_path, name):
    ran = cli("new", "--", name)
    assert (ran.code, list(tmp_path.iterdir())) == (2, [])


async def test_the_attempt_is_told_what_the_terms_say():
    class Deaf:
        def note(self, sentence: str) -> None: ...
        def line(self, level: str, message: str, fields: dict[str, object]) -> None: ...
        def progress(self, fraction: float | None, note: str) -> None: ...

    payload = b'{"message": "x"}'
    ended = await rehearse(find_cast("echo"), payload, load(environ={}), Deaf(), Terms(attempt=2))
    assert ended.result["attempt"] == 2
