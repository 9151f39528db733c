"""Which writes of Redis outlive it."""

import pytest

from streams.durability import NEVER, safe_before_ms

NOW = 1_000_000_000


@pytest.mark.parametrize(
    ("persistence", "expected"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, NOW - 10_000),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, NEVER),
        (
            {"aof_enabled": 1, "rdb_last_save_time": 900, "rdb_last_bgsave_time_sec": 1},
            NOW - 10_000,
        ),
        (
            {"aof_enabled": 0, "rdb_last_save_time": 900_000, "rdb_last_bgsave_time_sec": 5},
            899_994_000,
        ),
        (
            {
                "aof_enabled": 0,
                "rdb_last_save_time": 900_000,
                "rdb_last_bgsave_time_sec": 5,
                "rdb_last_bgsave_status": "err",
            },
            NEVER,
        ),
        ({"aof_enabled": 0, "rdb_last_save_time": 900, "rdb_last_bgsave_time_sec": -1}, NEVER),
        ({}, NEVER),
    ],
    ids=[
        "file",
        "file-failing",
        "file-first",
        "snapshot",
        "snapshot-failed",
        "no-snapshot",
        "none",
    ],
)
def test_what_is_safe(persistence: dict[str, object], expected: int) -> None:
    assert safe_before_ms(persistence, NOW) == expected
