"""The audit log: a chain of lines that tells what operators did, and when it was tampered with."""

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from gateway.audit import AuditLog, entry
from gateway.chain import Chain, Head, verify
from streams.errors import ConfigError
from tests.support.waiting import until


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path / "logs" / "audit.log")


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_lines_are_numbered_and_hold_the_hash_of_the_one_before(chain: Chain) -> None:
    chain.append([{"action": "a"}, {"action": "b"}])
    chain.append([{"action": "c"}])
    found = lines_of(chain.path)
    assert [(line["n"], line["action"]) for line in found] == [(1, "a"), (2, "b"), (3, "c")]
    assert [line["previous"] for line in found] == ["", found[0]["hash"], found[1]["hash"]]
    checked = verify([chain.path])
    assert (checked.lines, checked.faults, checked.remarks) == (3, (), ())
    assert checked.head == Head(3, str(found[2]["hash"]))


def test_only_the_owner_may_read_it(chain: Chain) -> None:
    chain.append([{}])
    for path in (chain.path, chain.path.with_name("audit.log.head")):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_changed_line_is_found(chain: Chain, number: int) -> None:
    chain.append([{"action": "pause"}] * 3)
    lines = chain.path.read_text("utf-8").splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace("pause", "sleep")
    chain.path.write_text("".join(lines), "utf-8")
    assert verify([chain.path]).faults == (f"audit.log, line {number}: was changed",)


@pytest.mark.parametrize("number", [1, 2])
def test_a_line_that_is_taken_out_is_found(chain: Chain, number: int) -> None:
    chain.append([{"action": name} for name in "abc"])
    lines = chain.path.read_text("utf-8").splitlines(keepends=True)
    del lines[number - 1]
    chain.path.write_text("".join(lines), "utf-8")
    checked = verify([chain.path])
    assert checked.faults or checked.remarks == (
        "audit.log, line 1: continues line 1 of an older file",
    )


def test_lines_cut_off_at_the_end_are_counted(chain: Chain) -> None:
    chain.append([{"action": name} for name in "abc"])
    lines = chain.path.read_text("utf-8").splitlines(keepends=True)
    chain.path.write_text(lines[0], "utf-8")
    checked = verify([chain.path])
    assert checked.faults == ()
    assert chain.missing(checked.head) == 2


@pytest.mark.parametrize("how", ["moved", "emptied"])
def test_the_chain_goes_on_in_the_next_file(chain: Chain, how: str, tmp_path: Path) -> None:
    chain.append([{"action": "a"}])
    older = tmp_path / "audit.log.1"
    if how == "moved":
        chain.path.rename(older)
    else:
        older.write_bytes(chain.path.read_bytes())
        os.truncate(chain.path, 0)
    chain.append([{"action": "b"}])
    assert verify([older, chain.path]).faults == ()
    assert verify([older, chain.path]).lines == 2
    assert "continues line 1" in verify([chain.path]).remarks[0]
    assert verify([chain.path, older]).faults != ()


def test_a_line_cut_short_by_a_power_cut_harms_no_other(chain: Chain) -> None:
    chain.append([{"action": "a"}, {"action": "b"}])
    with chain.path.open("ab") as file:
        file.write(b'{"n":3,"action":"c","prev')
    chain.append([{"action": "d"}])
    checked = verify([chain.path])
    assert (checked.lines, checked.faults) == (3, ())
    assert checked.remarks == ("audit.log, line 3: cut short, or not a line of this log",)


def test_several_processes_share_one_file(chain: Chain) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(chain.path, 40)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    checked = verify([chain.path])
    assert (checked.lines, checked.faults, checked.remarks) == (120, (), ())


def append_many(path: Path, count: int) -> None:
    for number in range(count):
        Chain(path).append([{"number": number}])


def test_a_huge_entry_is_cut_and_still_a_line(chain: Chain) -> None:
    chain.append([{f"field{i}": "x" * 300 for i in range(100)}, {"action": "next"}])
    assert max(map(len, chain.path.read_bytes().splitlines())) < 8_192
    assert verify([chain.path]).faults == ()


def test_an_entry_holds_no_secret_and_nothing_empty() -> None:
    made = entry("x", 0, key="k", app="", subject="rn_abc_0123456789abcdef0123", from_=None)
    assert made == {
        "time": "1970-01-01T00:00:00.000Z",
        "action": "x",
        "key": "k",
        "subject": "rn_abc_(hidden)",
    }


async def test_what_is_written_is_on_disk_within_moments(chain: Chain) -> None:
    async with AuditLog(chain.path) as audit:
        audit.write("pause", key_id="k", app="*", subject="io", status=200)
        await until(lambda: chain.path.stat().st_size, what="the line")
        (line,) = lines_of(chain.path)
    assert (line["key"], line["app"], line["subject"], line["status"]) == ("k", "*", "io", 200)


async def test_stopping_writes_what_waits(chain: Chain) -> None:
    async with AuditLog(chain.path) as audit:
        for number in range(2_000):
            audit.write("x", key_id="k", app="*", subject=str(number))
    assert [line["subject"] for line in lines_of(chain.path)] == [str(n) for n in range(2_000)]
    assert verify([chain.path]).faults == ()


async def test_a_file_that_cannot_be_written_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    audit = AuditLog(tmp_path / "file" / "audit.log")
    with pytest.raises(ConfigError, match="audit log cannot be written"):
        await audit.on_start()


async def test_a_write_that_fails_is_tried_again(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    async with AuditLog(chain.path) as audit:
        chain.path.unlink()
        chain.path.mkdir()  # in its place: nothing can be appended
        audit.write("pause", key_id="k", app="*", subject="io")
        await until(lambda: "cannot be written" in caplog.text, what="the complaint")
        chain.path.rmdir()
        await until(chain.path.exists, what="the line")
    assert verify([chain.path]).lines == 1
