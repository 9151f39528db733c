"""Every error of the tree has a status, and no answer says more than was written for it."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from redis import exceptions as failures

import gateway.app  # noqa: F401 - all modules that may define errors
from gateway.limits import Disconnected
from gateway.problems import (
    STATUSES,
    InvalidFields,
    MethodNotAllowed,
    Problem,
    problem_of,
    problem_response,
)
from streams.errors import ConfigError, InvalidInput, OutOfMemory, Trouble, Unavailable

PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


def tree(root: type[Trouble]) -> Iterator[type[Trouble]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


PLATFORM = [
    error for error in tree(Trouble) if error.__module__ in ("streams.errors", "gateway.problems")
]


@pytest.mark.parametrize("error", PLATFORM, ids=lambda error: error.__name__)
def test_every_class_of_the_tree_has_a_status(error: type[Trouble]) -> None:
    assert error.code in STATUSES


def test_an_error_of_another_folder_gets_its_parents_status() -> None:
    assert problem_of(Disconnected("gone")).status == 422


def test_paths_and_texts_of_every_fault() -> None:
    error = InvalidFields([("$.payload.a", "is wrong"), ("$.payload.b[3]", "is worse")])
    problem = problem_of(error, "/v1/jobs")
    assert msgspec.json.decode(msgspec.json.encode(problem)) == {
        "type": "urn:roughneck:problem:invalid_input",
        "title": "A value has the wrong type or range",
        "status": 422,
        "code": "invalid_input",
        "detail": "is wrong",
        "instance": "/v1/jobs",
        "errors": [
            {"path": "$.payload.a", "message": "is wrong"},
            {"path": "$.payload.b[3]", "message": "is worse"},
        ],
    }


def test_one_fault() -> None:
    (fault,) = problem_of(InvalidInput("no", "$.x")).errors
    assert (fault.path, fault.message) == ("$.x", "no")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (failures.ConnectionError("Error 111 connecting to 10.0.0.1:6379"), 503, "unavailable"),
        (failures.TimeoutError("secret-host"), 503, "unavailable"),
        (failures.OutOfMemoryError("command not allowed"), 503, "out_of_memory"),
        (failures.ReadOnlyError("READONLY"), 503, "unavailable"),
        (failures.ResponseError("NOPERM"), 503, "unavailable"),
        (TimeoutError(), 503, "unavailable"),
        (Unavailable("Redis does not answer: Error 111"), 503, "unavailable"),
        (OutOfMemory("OOM at redis"), 503, "out_of_memory"),
        (ConfigError("secret path"), 500, "config_error"),
        (ZeroDivisionError("line 12"), 500, "internal"),
    ],
)
def test_no_foreign_text_goes_out(error: Exception, status: int, code: str) -> None:
    response = problem_response(error, "/v1/jobs")
    problem = msgspec.json.decode(response.body, type=Problem)
    assert (response.status_code, problem.code, problem.detail) == (status, code, "")
    assert response.media_type == "application/problem+json"


def test_retry_after_is_whole_seconds_and_never_zero() -> None:
    assert problem_response(OutOfMemory("", after_s=4.6)).headers["retry-after"] == "5"
    assert problem_response(Unavailable("", after_s=0.1)).headers["retry-after"] == "1"
    assert problem_response(TimeoutError()).headers["retry-after"] == "1"


def test_allow_lists_the_methods() -> None:
    assert problem_response(MethodNotAllowed(["GET", "POST"])).headers["allow"] == "GET, POST"


def test_the_unforeseen_is_logged_with_its_stack(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        problem_response(ZeroDivisionError("line 12"), "/v1/jobs")
    (record,) = caplog.records
    assert record.exc_info is not None


def test_the_page_about_the_gateway_names_every_code_and_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    written = {
        code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)
    }
    assert written == {code: status for code, (status, _) in STATUSES.items()}
