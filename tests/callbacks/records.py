"""Callback records for tests."""

import msgspec

from streams.callbacks import CallbackRecord
from streams.model import State

RECORD = CallbackRecord(
    id="msg_0123456789abcdef0123456789",
    job_id="0-06cz1v3k5hn8r2tq4wy7x9bdfg",
    app="govejle",
    processor="govejle-enrichment",
    state=State.SUCCEEDED,
    attempt=2,
    submitted_ms=1_795_000_000_000,
    started_ms=1_795_000_000_250,
    ended_ms=1_795_000_001_500,
    fault=None,
    result=b'{"title":"K\xc3\xb8ng Svend","price":150.0}',
    result_bytes=37,
    url="https://govejle.example/hooks/jobs",
    endpoint="ep_1",
    sequence=1,
    tags=("weekly",),
    trace="",
)


def record(**changes: object) -> CallbackRecord:
    """A record like `RECORD`, changed."""
    return msgspec.structs.replace(RECORD, **changes)
