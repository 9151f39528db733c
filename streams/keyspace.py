"""Every key in Redis: its name, type and lifetime. No other module writes a `:` into a key.

All keys share one hash tag, so that scripts may touch several of them. Names in the first column
are the names that script headers use; a trailing `_` marks a prefix to which a script appends.

    name             type    lifetime       what
    gate             -       never there    deleted first by scripts that must run at maxmemory
    counts           HASH    permanent      `class|state` → jobs now, `class|submitted` → ever (I1)
    tallies          HASH    permanent      `what|lane` → how often that ever happened to its jobs
    job_             HASH    retention      one job's record, by id
    payload_         STRING  with its job   its input
    result_          STRING  with its job   its result; a small one is in the record
    staged_          STRING  1 hour         a large result under (job, token) before its settle
    tokens_          STREAM  1 hour         what a job's newest attempt says while it runs
    stream_          STREAM  while in use   one lane's entries
    streams_         SET     permanent      a class's lanes whose stream exists
    lanes_           ZSET    permanent      by class:priority: lanes that wait, by head's age base
    pools_           SET     permanent      a class's pools
    leases_          ZSET    permanent      a pool's leases: `lane|entry` by deadline
    due_             ZSET    permanent      a class's delayed jobs by due time
    blocked          SET     permanent      jobs that wait for other jobs
    expiring         ZSET    permanent      jobs that end by a time unless they start before it
    clock_           HASH    permanent      a class's open time, pause, and who may return
    turns_           HASH    permanent      a class's apps, by when they were last served
    running_         HASH    permanent      a class's active jobs by app
    limits           HASH    permanent      totals by pool, concurrency and rates by class and app
    pace_            HASH    permanent      by class: what is used of its rates, by app
    calls_           STRING  1 day          the last two numbered calls of (worker, pool)
    doorbell_        STREAM  capped         rung when a class may have work for a waiting worker
    events           STREAM  capped         every change of state
    recent           STRING  60 s           what happened in the last minute, by whom it was counted
    ended_           ZSET    by retention   an app's ended jobs but dead ones, by time of ending
    dead_            ZSET    by retention   an app's dead letters, by time of ending
    apps             SET     permanent      apps that ever submitted
    unique_          STRING  with its job   by app|name: the job with that unique key; or for a time
    flow_            HASH    with its job   one flow: its state, and what its stages wait for
    flow_jobs_       LIST    with its job   a flow's jobs
    flow_steps       LIST    while in use   steps of flows that one call had no room for
    flow_fans        SET     while in use   flow|round|stage: stages that fan out over a list
    flows_           ZSET    by retention   an app's flows by when they were submitted
    usage_           HASH    400 days       by day: what was used of models, by app|processor|model
    cached_          STRING  as its processor says  a result, by everything it depends on
    cached_results   ZSET    permanent      kept results by when they go
    learned          HASH    permanent      how long things take, how far estimates are off
    forecasts        HASH    1 day          estimates of starts that wait to be compared
    shipped          HASH    permanent      a gateway's journal sequence that Redis has
    audit            HASH    permanent      who audits, how far, and what was found
    verdicts         HASH    permanent      a worker's journal → its last settle that Redis has
    worker_          STRING  60 s           a worker's announcement
    workers          ZSET    permanent      workers by when they were last heard of
    processors       HASH    until forgotten  published manifests by name
    named_flows      HASH    until forgotten  published flows by name
    endpoints        HASH    permanent      callback endpoints by id, their secrets sealed
    endpoint_        HASH    until forgotten  an endpoint's breaker, and whether it is disabled
    keys             HASH    permanent      API keys by id, hashed
    key_uses         HASH    permanent      when each API key was last used, within a minute
    blob_stores      HASH    permanent      where stores of blobs are reached, and what signs
    app_limits       HASH    permanent      what apps may ask of gateways; `*` is for all others
    rate_            STRING  while in use   by app|what: when its allowance is full again
    schedule_        HASH    until forgotten  by app|name: a schedule and how far it has come
    schedules        ZSET    permanent      schedules in the order of their names
    schedule_due     ZSET    permanent      schedules by when their next tick runs
    callback_        HASH    retention      one callback's frozen values and its delivery log
    callbacks_       STREAM  while in use   one endpoint's lane: callbacks to deliver there
    callback_lanes   ZSET    permanent      endpoints with callbacks to deliver, by when to look
    callback_leases  ZSET    permanent      deliveries under way: `id|entry|endpoint` by deadline
    callback_hosts   HASH    permanent      deliveries under way by host
    callback_due     ZSET    permanent      callbacks that wait for their next attempt
    callback_dead    ZSET    by retention   callbacks given up, by time
    callback_done    ZSET    by retention   callbacks delivered, by time
    callback_counts  HASH    permanent      recorded = waiting + delivered + dead (I12)
"""

import msgspec

GROUP = "workers"  # the consumer group of every lane
FLOW = "flow"  # the processor of flows' own jobs, which the engine itself runs
COURIERS = "couriers"  # the consumer group of every lane of callbacks

PLAIN = frozenset(
    (
        *("gate", "counts", "tallies", "blocked", "expiring", "limits", "events", "apps"),
        *("flow_steps", "flow_fans", "learned", "forecasts", "cached_results", "recent"),
        *("shipped", "verdicts", "audit"),
        *("workers", "processors", "endpoints", "keys", "callback_lanes", "callback_leases"),
        *("callback_hosts", "callback_due", "callback_dead", "callback_done", "callback_counts"),
        *("key_uses", "app_limits", "schedules", "schedule_due", "named_flows", "blob_stores"),
    )
)
PREFIXES = frozenset(
    (
        *("job_", "payload_", "result_", "staged_", "stream_", "streams_", "lanes_", "pools_"),
        "tokens_",
        *("leases_", "due_", "clock_", "turns_", "running_", "calls_", "doorbell_", "ended_"),
        *(
            "dead_",
            "worker_",
            "callback_",
            "callbacks_",
            "endpoint_",
            "rate_",
            "flow_",
            "flow_jobs_",
            "flows_",
            "schedule_",
            "unique_",
            "pace_",
            "usage_",
            "cached_",
        ),
    )
)


class Keyspace(msgspec.Struct, frozen=True):
    """Spells keys under one hash tag: `Keyspace("rn").key("job_", id)` is `{rn}:job:<id>`."""

    tag: str = "rn"

    def key(self, name: str, suffix: str = "") -> str:
        """The key of a name of the table above. Raises KeyError for a name that is not there."""
        if name in PREFIXES:
            return f"{{{self.tag}}}:{name[:-1]}:{suffix}"
        if name in PLAIN and not suffix:
            return f"{{{self.tag}}}:{name}"
        raise KeyError(name)

    def job(self, job_id: str) -> str:
        """HASH: one job's record."""
        return self.key("job_", job_id)

    def payload(self, job_id: str) -> str:
        """STRING: a job's input."""
        return self.key("payload_", job_id)

    def result(self, job_id: str) -> str:
        """STRING: a job's result."""
        return self.key("result_", job_id)

    def staged(self, job_id: str, token: str) -> str:
        """STRING with a TTL: a large result that a settle will link."""
        return self.key("staged_", f"{job_id}:{token}")

    def stream(self, lane: str) -> str:
        """STREAM: the entries of the lane of that name."""
        return self.key("stream_", lane)


def lease_member(lane: str, entry_id: str) -> str:
    """The member of a pool's leases for one entry."""
    return f"{lane}|{entry_id}"


def pool_of(resource_class: str, host: str = "") -> str:
    """The pool that a total limit counts: the class, or one Ollama host of it."""
    return f"{resource_class}@{host}" if host else resource_class
