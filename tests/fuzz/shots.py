"""Sends raw requests one by one, and judges each answer."""

import contextlib
import json
import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.requests import requests
from tests.fuzz.target import Target, random_allowed

ANSWER_LIMIT_S = 5.0
CALM_EVERY = 200
AT_ONCE = 8
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*\r\n")
HEADER = re.compile(rb"[a-z0-9-]+: [\t -~]*")


class Tally:
    """What came back."""

    def __init__(self) -> None:
        self.requests = 0
        self.statuses: Counter[int] = Counter()  # 0: closed without an answer
        self.faults: list[str] = []

    def classes(self) -> dict[str, int]:
        """Answers by the first digit of their status."""
        found: Counter[str] = Counter()
        for status, count in self.statuses.items():
            found[f"{status // 100}xx" if status else "no answer"] += count
        return dict(sorted(found.items()))


def shoot(one: Target, count: int, number: int) -> Tally:
    """Send `count` requests or a few more, the same for the same seed. Stops at the first fault."""
    tally = Tally()
    shot = requests(one.keys, one.names)

    @seed(number)
    @settings(
        max_examples=-(-count // AT_ONCE),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # what was sent is shown: no need to send less of it for minutes
    )
    @given(st.lists(shot, min_size=AT_ONCE, max_size=AT_ONCE))
    def salvo(raws: list[bytes]) -> None:
        if tally.requests % CALM_EVERY == 0:
            one.calm()
        for raw, answer in zip(raws, gunners.map(partial(exchange, one.port), raws), strict=True):
            tally.requests += 1
            status, fault = judged(raw, answer)
            tally.statuses[status] += 1
            if fault:
                tally.faults.append(f"{fault}\n{raw[:2_000]!r}\n{answer[:1_000]!r}")
        assert not tally.faults, tally.faults[-1]

    with ThreadPoolExecutor(AT_ONCE) as gunners, random_allowed():
        salvo()
    return tally


def exchange(port: int, raw: bytes) -> bytes:
    """All that comes back until the answer is whole or the other side closes."""
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), ANSWER_LIMIT_S) as wire,
        contextlib.suppress(ConnectionResetError, BrokenPipeError),
    ):
        wire.sendall(raw)
        while not whole(raw, answer):
            piece = wire.recv(65_536)
            if not piece:
                break
            answer += piece
    return answer


def whole(raw: bytes, answer: bytes) -> bool:
    """Whether the first answer is complete."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if head.startswith(b"HTTP/1.1 100"):
        return whole(raw, body)
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    bare = raw.startswith(b"HEAD ") or length is None
    return bare or (length is not None and len(body) >= int(length[1]))


def judged(raw: bytes, answer: bytes) -> tuple[int, str]:
    """The status of an answer, and what is wrong with it."""
    if not answer:
        return 0, ""
    if answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(b"\r\n\r\n")[2]
    match = STATUS.match(answer)
    if match is None:
        return 0, "not an answer of HTTP"
    status = int(match[1])
    head, found, body = answer.partition(b"\r\n\r\n")
    if status >= 500:
        return status, f"answered {status}"
    if not found:
        return status, "the headers do not end"
    bad = [line for line in head.split(b"\r\n")[1:] if not HEADER.fullmatch(line)]
    if bad:
        return status, f"a header that is none: {bad[0]!r}"
    if status >= 400 and not raw.startswith(b"HEAD "):
        return status, problem_fault(status, head, body)
    return status, ""


def problem_fault(status: int, head: bytes, body: bytes) -> str:
    """What is wrong with a problem document."""
    if b"content-type: application/problem+json" not in head:
        return "not a problem document"
    length = re.search(rb"content-length: (\d+)", head)
    problem = json.loads(body[: int(length[1])] if length else body)
    if problem["status"] != status or not problem["code"] or problem["code"] == "internal":
        return f"the problem says {problem}"
    return ""
