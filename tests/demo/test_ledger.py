"""The demo's books find what is lost, done twice or told wrongly."""

from typing import Any

import msgspec
import pytest

from ops.demo.ledger import Answer, Receipt, Seen, Submission, duplicates, findings
from streams.model import State

DONE = Submission("job-1", "page", "govejle", State.SUCCEEDED)
DEAD = Submission("job-2", "refuses", "etyde", State.DEAD)


def receipt(one: Submission, callback_id: str, **fields: Any) -> Receipt:
    data = {
        "job_id": one.job_id,
        "app": one.app,
        "state": one.ends,
        "sequence": 1,
        "attempt": 2,
        "result": {"title": "Gormsgade"} if one.ends is State.SUCCEEDED else None,
        "result_url": None,
        **fields,
    }
    body = msgspec.json.encode({"type": f"job.{one.ends}", "data": data})
    return Receipt(one.app, callback_id, body)


def seen(**fields: Any) -> Seen:
    """A day on which all went well, changed by `fields`."""
    usual = Seen(
        submissions=[DONE, DEAD],
        answers={
            "job-1": Answer(State.SUCCEEDED, 2, {"title": "Gormsgade"}),
            "job-2": Answer(State.DEAD, 2),
        },
        receipts=[receipt(DONE, "msg_1"), receipt(DEAD, "msg_2")],
        ends={"job-1": 1, "job-2": 1},
        audit=[],
        callbacks={"recorded": 2, "delivered": 2, "waiting": 0},
        left=[],
    )
    return msgspec.structs.replace(usual, **fields)


def test_a_good_day_has_no_findings() -> None:
    assert findings(seen()) == []


def test_a_redelivery_with_equal_id_and_bytes_is_a_duplicate_and_no_finding() -> None:
    refused = msgspec.structs.replace(receipt(DONE, "msg_1"), accepted=False)
    again = seen(receipts=[refused, receipt(DONE, "msg_1"), receipt(DEAD, "msg_2")])
    assert findings(again) == []
    assert duplicates(again.receipts) == 1


OTHER_BYTES = receipt(DONE, "msg_1", attempt=2, tags=["x"])
UNSIGNED = msgspec.structs.replace(receipt(DONE, "msg_1"), verified=False, accepted=False)
STRANGE = receipt(msgspec.structs.replace(DONE, job_id="job-9"), "msg_9")
TO_OTHER_APP = msgspec.structs.replace(receipt(DONE, "msg_1"), app="etyde")
BOTH = [receipt(DONE, "msg_1"), receipt(DEAD, "msg_2")]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a job that the gateway does not know": (
        {"answers": {"job-1": None, "job-2": Answer(State.DEAD, 2)}},
        "page: lost, the gateway does not know the job",
    ),
    "a job that never ended": (
        {"answers": {"job-1": Answer(State.ACTIVE, 2), "job-2": Answer(State.DEAD, 2)}},
        "page: not ended, it is active",
    ),
    "a job that ended otherwise": (
        {"answers": {"job-1": Answer(State.DEAD, 2), "job-2": Answer(State.DEAD, 2)}},
        "page: ended dead, not succeeded",
    ),
    "a job that ended twice": ({"ends": {"job-1": 2, "job-2": 1}}, "page: ended 2 times"),
    "a second callback of one job": (
        {"receipts": [*BOTH, receipt(DONE, "msg_3", sequence=2)]},
        "page: 2 callbacks instead of one",
    ),
    "one key that made two jobs": (
        {"submissions": [DONE, DEAD, DONE]},
        "two submissions were given one job id",
    ),
    "a callback with other bytes": (
        {"receipts": [msgspec.structs.replace(OTHER_BYTES, accepted=False), *BOTH]},
        "msg_1: came with 2 different bodies",
    ),
    "a callback that never came": ({"receipts": BOTH[1:]}, "page: 0 callbacks instead of one"),
    "a callback that was accepted twice": (
        {"receipts": [*BOTH, BOTH[0]]},
        "msg_1: accepted 2 times",
    ),
    "a callback that was never accepted": (
        {"receipts": [msgspec.structs.replace(BOTH[0], accepted=False), BOTH[1]]},
        "msg_1: accepted 0 times",
    ),
    "an unsigned callback": (
        {"receipts": [UNSIGNED, *BOTH]},
        "1 deliveries bear no signature that fits",
    ),
    "a callback of a job that nobody submitted": (
        {"receipts": [*BOTH, STRANGE]},
        "a callback tells of job-9, which nobody submitted",
    ),
    "a callback to another app": (
        {"receipts": [TO_OTHER_APP, BOTH[1]]},
        "page: etyde was told of a job of govejle",
    ),
    "a callback that contradicts the gateway": (
        {"receipts": [receipt(DONE, "msg_1", attempt=1), BOTH[1]]},
        "page: its callback says succeeded at attempt 1, the gateway succeeded at 2",
    ),
    "a callback with another result": (
        {"receipts": [receipt(DONE, "msg_1", result={"title": "HACKED"}), BOTH[1]]},
        "page: its callback has another result than the gateway",
    ),
    "counters that contradict each other": (
        {"audit": ["cpu: active is counted as 1, the structures hold 0"]},
        "audit: cpu: active is counted as 1, the structures hold 0",
    ),
    "a callback too many in the counters": (
        {"callbacks": {"recorded": 3, "delivered": 3}},
        "callbacks: {'recorded': 3, 'delivered': 3} for 2 jobs",
    ),
    "a dead callback": (
        {"callbacks": {"recorded": 2, "delivered": 2, "dead": 1}},
        "callbacks: 1 are dead",
    ),
    "a child that outlived its worker": ({"left": [4711]}, "processes 4711 outlived their worker"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    fields, sentence = WRONG[name]
    assert sentence in findings(seen(**fields))
