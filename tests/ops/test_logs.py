"""Lines that machines can read, lines that people can read, and no secrets in either."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.acceptance import AcceptedLines
from gateway.redaction import PATTERNS, redact
from ops.logs import AttemptLines, configure
from ops.settings import LogSettings
from streams.attempt import HELD
from streams.errors import ConfigError
from streams.model import (
    Again,
    Dead,
    Done,
    Fault,
    Lane,
    Lease,
    NewJob,
    Priority,
    ResourceClass,
    Settled,
    State,
    Submitted,
)
from streams.telemetry import (
    AttemptJudged,
    AttemptLog,
    AttemptStarted,
    ChangedNothing,
    ChoreFailed,
    LeaseGone,
    LinkChanged,
    Telemetry,
)

LANE = Lane(ResourceClass.IO, "web", Priority.NORMAL, "echo")
LEASE = Lease(
    job_id="0-abc",
    token="t",
    lane=LANE,
    entry_id="1-1",
    pool="io",
    attempt=2,
    failures=1,
    attempts_max=3,
    timeout_ms=1_000,
    backoff_ms=1,
    backoff_max_ms=1,
    submitted_ms=0,
    payload=b"{}",
    payload_bytes=2,
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    for opened in set(root.handlers) - set(handlers):
        opened.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(settings: LogSettings, *happenings: object) -> list[str]:
    stream = io.StringIO()
    configure(settings, stream)
    telemetry = Telemetry()
    telemetry.listen(AttemptLines())
    for happening in happenings:
        telemetry.emit(happening)  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_off_a_terminal_a_line_is_a_json_object_with_the_job() -> None:
    dead = AttemptJudged(LEASE, Dead(Fault("crashed", "it died")), 0.1234)
    written = [json.loads(line) for line in lines(LogSettings(), dead)]
    assert written[0].pop("time").endswith("Z")
    assert written == [
        {
            "level": "warning",
            "logger": "roughneck.worker",
            "message": "attempt failed, no other follows",
            "job_id": "0-abc",
            "app": "web",
            "processor": "echo",
            "attempt": 2,
            "took_s": 0.123,
            "code": "crashed",
            "reason": "it died",
        }
    ]


def test_for_people_a_line_is_a_sentence_with_fields() -> None:
    again = AttemptJudged(LEASE, Again(500, Fault("retry", "try later")), 1.0)
    (line,) = lines(LogSettings(format="text"), again)
    assert line[12:] == (
        " info    attempt failed, another follows  job_id=0-abc app=web processor=echo "
        'attempt=2 took_s=1.0 code=retry reason="try later" again_in_ms=500'
    )


def test_every_end_of_an_attempt_is_told_its_start_on_request_only() -> None:
    life = AttemptStarted(LEASE), AttemptJudged(LEASE, Done(b"1"), 0.0)
    assert len(lines(LogSettings(), *life)) == 1
    assert len(lines(LogSettings(level="debug"), *life)) == 2


async def test_each_accepted_job_has_a_line_although_they_are_written_together() -> None:
    stream, told = io.StringIO(), AcceptedLines()
    configure(LogSettings(), stream)
    jobs = [NewJob(f"0-{name}", LANE, b"1", trace=f"00-{name * 32}-b-01") for name in "abc"]
    told.tell(jobs[:2], [Submitted(job.id, State.WAITING, created=True) for job in jobs[:2]])
    told.tell(jobs[2:], [Submitted("0-c", State.SPOOLED, created=True)])
    told.tell(jobs[:1], [Submitted("0-a", State.ACTIVE, created=False)])
    told.tell(jobs[:1], [Submitted("0-a", State.SPOOLED, created=False, same=False)])
    assert not stream.getvalue()
    await asyncio.sleep(0)
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["message"], one["job_id"], one["state"]) for one in said] == [
        ("job accepted", "0-a", "waiting"),
        ("job accepted", "0-b", "waiting"),
        ("job accepted", "0-c", "spooled"),
        ("the job was there already", "0-a", "active"),
    ]
    assert [one["trace_id"] for one in said] == [name * 32 for name in "abca"]
    assert {(one["app"], one["processor"], one["logger"]) for one in said} == {
        ("web", "echo", "gateway.acceptance")
    }
    configure(LogSettings(format="text"), stream)
    told.tell(jobs[:2], [Submitted(job.id, State.WAITING, created=True) for job in jobs[:2]])
    await asyncio.sleep(0)
    first, second = stream.getvalue().splitlines()[-2:]
    assert first.replace("0-a", "0-b").replace("a" * 32, "b" * 32) == second


SECRETS = st.sampled_from(
    [
        *("rn_abc_" + "x" * 20, "RN_ABC_" + "x" * 20, "whsec_" + "A" * 12, "WHSEC_" + "A" * 12),
        *("Bearer abcdefgh12", "BASIC%20abcdefgh12", "bearer", "ba\u017fic abcdefgh12"),
        *("redis://:pw@host", "http://a:b@c", "://", "https://host/?token=abc", "&API_KEY=abc"),
        *("?signature=x", "=", " ", "\u00e6", "plain", "(hidden)"),
    ]
)


@given(st.lists(SECRETS, max_size=8))
def test_to_look_before_replacing_hides_no_less(parts: list[str]) -> None:
    text = "".join(parts)
    thorough = text
    for _, pattern, replacement in PATTERNS:
        thorough = pattern.sub(replacement, thorough)
    assert redact(text) == thorough


def test_a_line_bears_flow_stage_and_trace_where_there_are_some() -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    stage = msgspec.structs.replace(LEASE, flow="0-flow", stage="fetch:3", trace=parent)
    written = json.loads(lines(LogSettings(), AttemptJudged(stage, Done(b"1"), 0.0))[0])
    assert (written["flow"], written["stage"]) == ("0-flow", "fetch:3")
    assert written["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    own = msgspec.structs.replace(LEASE, lane=msgspec.structs.replace(LANE, processor="flow"))
    assert json.loads(lines(LogSettings(), LeaseGone(own))[0])["flow"] == "0-abc"


def test_a_line_written_under_a_lease_bears_its_ids() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    held = HELD.set(LEASE)
    logging.getLogger("library").warning("something is old")
    logging.getLogger("other").warning("of another job", extra={"job_id": "0-other"})
    HELD.reset(held)
    logging.getLogger("library").warning("nobody's")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert (first["job_id"], first["attempt"], first["app"]) == ("0-abc", 2, "web")
    assert second["job_id"] == "0-other"
    assert "job_id" not in third


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def written(stream: io.StringIO) -> str:
        configure(LogSettings(format="text"), stream)
        logging.getLogger("x").warning("look", extra={"n": 1})
        return stream.getvalue()

    assert "\x1b[33mwarning\x1b[0m look" in written(Terminal())
    assert "\x1b" not in written(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in written(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in written(Terminal())


def test_a_processors_own_line_keeps_its_level_and_fields() -> None:
    said = AttemptLog(LEASE, "warning", "page is empty", {"url": "https://x.dk", "message": "m"})
    written = json.loads(lines(LogSettings(), said)[0])
    assert (written["level"], written["message"]) == ("warning", "page is empty")
    assert (written["field_url"], written["field_message"]) == ("https://x.dk", "m")


def test_what_changed_nothing_and_a_lost_link_are_told() -> None:
    happenings = [
        ChangedNothing("0-abc", Settled.LOST),
        LinkChanged(up=False, reason="reset"),
        LinkChanged(up=True),
    ]
    messages = [json.loads(line)["message"] for line in lines(LogSettings(), *happenings)]
    assert messages == [
        "the verdict changed nothing",
        "the link to Redis is lost",
        "the link to Redis is back",
    ]


@pytest.mark.parametrize(
    "secret",
    [
        "rn_0123456789ab_Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFy-_",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "Authorization: Bearer abcdefgh12345678",
        "redis://app:hushhush@10.8.0.1:6379/0",
    ],
)
@pytest.mark.parametrize("kind", ["json", "text"])
def test_secrets_are_in_no_line(secret: str, kind: str) -> None:
    stream = io.StringIO()
    configure(LogSettings(format=kind), stream)  # type: ignore[arg-type]
    try:
        raise ValueError(f"cannot use {secret}")
    except ValueError:
        logging.getLogger("x").exception("failed with %s", secret, extra={"given": [secret]})
    text = stream.getvalue()
    assert "(hidden)" in text
    for part in ("Zm9vYmFy", "MfKQ9r8G", "abcdefgh1234", "hushhush"):
        assert part not in text


def test_ordinary_text_is_left_alone() -> None:
    for text in ("a basic idea", "http://127.0.0.1:8470/v1/jobs", "rn_x", '{"a":"b@c"}'):
        assert redact(text) == text


def test_a_chore_that_fails_at_every_tick_is_told_of_once_in_a_while() -> None:
    failed = [ChoreFailed(name, "Redis is away") for name in ("sweeper", "janitor") * 30]
    written = [json.loads(line) for line in lines(LogSettings(), *failed)]
    assert [one["chore"] for one in written] == ["sweeper", "janitor"]


def test_a_file_that_was_renamed_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    configure(LogSettings(file=str(path)))
    logging.getLogger("roughneck").warning("before")
    path.rename(tmp_path / "worker.log.0")
    logging.getLogger("roughneck").warning("after")
    assert json.loads(path.read_text())["message"] == "after"
    assert json.loads((tmp_path / "worker.log.0").read_text())["message"] == "before"
    with pytest.raises(ConfigError, match=r"log\.file"):
        configure(LogSettings(file=str(tmp_path / "none" / "worker.log")))
