"""What the engine can be told. Nothing is read here: `ops.settings` fills it in."""

import msgspec


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engine's defaults, each with its unit."""

    tag: str = "rn"  # the hash tag of every key
    lease_ms: int = 30_000  # how long a worker may be silent before its jobs may be taken
    ahead_ms: int = 50  # how long a lease of a short job may wait for its slot; 0: none does
    renew_ms: int = 10_000  # how often a worker renews its leases
    poll_ceiling_ms: int = 1_000  # the longest wait between two looks for work
    retention_s: int = 7 * 86_400  # ended jobs and their results
    dead_retention_s: int = 30 * 86_400  # dead letters
    retention_jobs_max: int = 1_000_000  # of an app's ended jobs, and of its dead letters; 0: any
    retention_bytes_max: int = 1024 * 1024 * 1024  # of either, about; 0: any
    usage_retention_s: int = 400 * 86_400  # sums of what models were used for, by day
    cache_entries_max: int = 10_000  # results kept for those who ask the same again
    events_max: int = 100_000  # events kept, roughly: a fifth to twice as many (decision 6)
    crashes_max: int = 3  # leases lost to a dead worker before the job becomes a dead letter
    take_payload_max_bytes: int = 256 * 1024  # payloads inlined in one answer of take
    payload_inline_max_bytes: int = 32 * 1024  # larger ones are fetched in the attempt
    result_inline_max_bytes: int = 32 * 1024  # larger ones are staged before settle
    tokens_max_bytes: int = 1024 * 1024  # kept of what one attempt says while it runs
    callback_inline_max_bytes: int = 16 * 1024  # larger results are sent as a link
    open_gap_ms: int = 15_000  # a class that no worker served for longer was closed meanwhile
    return_grace_ms: int = 5_000  # then its workers may come back before their leases are taken
    grace_ms: int = 30_000  # how long a stopping worker lets attempts finish
    journal_after_ms: int = 10_000  # verdicts of attempts this long go to disk before they go out
    stall_ms: int = 5_000  # no contact with Redis, or a blocked loop, for longer is unhealthy
    result_redis_max_bytes: int = 16 * 1024 * 1024  # larger ones become blobs at a gateway
    settle_max_bytes: int = 256 * 1024  # results carried by one call of settle
    retry_after_max_s: float = 3_600.0  # cap on a wait that a processor asks for
