"""Is it well, and if not, where to look."""

from ops.dashboards.build import (
    BAD,
    WARN,
    Dashboard,
    Panel,
    Query,
    Row,
    highest,
    own_rate,
    quantile,
    truth,
    truth_rate,
)

STANDING = Row(
    "Now",
    (
        Panel(
            title="Alerts",
            what="Alerts of Roughneck's that fire; each names its entry in the runbook.",
            queries=(
                Query('count(ALERTS{alertname=~"Roughneck.*",alertstate="firing"}) or vector(0)'),
            ),
            kind="stat",
            steps=((1, BAD),),
        ),
        Panel(
            title="Waiting",
            what="Jobs that wait for a slot.",
            queries=(Query(truth("roughneck_lanes_waiting")),),
            kind="stat",
        ),
        Panel(
            title="Active",
            what="Jobs that are under way.",
            queries=(Query(truth("roughneck_jobs", where='state="active"')),),
            kind="stat",
        ),
        Panel(
            title="Workers",
            what="Workers that live and work, of the class that has most.",
            queries=(Query(highest("roughneck_workers", where='condition="working"')),),
            kind="stat",
            steps=((0, BAD), (1, "green")),
        ),
        Panel(
            title="Dead letters",
            what="Jobs that will not be tried again by themselves.",
            queries=(Query(truth("roughneck_jobs", where='state="dead"')),),
            kind="stat",
            steps=((1, WARN),),
        ),
        Panel(
            title="Redis",
            what="Whether every gateway reaches Redis.",
            queries=(Query("min(roughneck_redis_up)"),),
            kind="stat",
            steps=((0, BAD), (1, "green")),
            names={"0": "away", "1": "up"},
        ),
    ),
)

FLOW = Row(
    "Jobs",
    (
        Panel(
            title="Submitted and ended",
            what="Jobs a second, over all classes.",
            queries=(
                Query(truth_rate("roughneck_jobs_submitted_total"), "submitted"),
                Query(truth_rate("roughneck_jobs_ended_total", "state"), "{{state}}"),
                Query(truth_rate("roughneck_jobs_replayed_total"), "replayed"),
            ),
            unit="cps",
        ),
        Panel(
            title="Jobs by state",
            what="What has not ended.",
            queries=(
                Query(
                    truth("roughneck_jobs", "state", 'state=~"waiting|active|delayed|blocked"'),
                    "{{state}}",
                ),
            ),
            stack=True,
        ),
        Panel(
            title="Failures by processor",
            what="The share of attempts that failed, over ten minutes.",
            queries=(Query("processor:roughneck_attempts:failure_ratio10m", "{{processor}}"),),
            unit="percentunit",
        ),
        Panel(
            title="Failures by error",
            what="Failed attempts a second, by processor and the code of the error.",
            queries=(
                Query(
                    own_rate("roughneck_attempt_failures_total", "processor, error"),
                    "{{processor}} {{error}}",
                ),
            ),
            unit="cps",
            stack=True,
        ),
    ),
)

MINUTE = Row(
    "The last minute, live",
    (
        Panel(
            title="Jobs",
            what="Submitted, started and ended within the last minute, over all workers.",
            queries=(Query(truth("roughneck_minute_jobs", "what"), "{{what}}"),),
        ),
        Panel(
            title="Failures",
            what="Attempts that failed within the last minute, by the code of the error.",
            queries=(
                Query(
                    highest("roughneck_minute_failures", "processor, error"),
                    "{{processor}} {{error}}",
                ),
            ),
            stack=True,
        ),
        Panel(
            title="What agents say",
            what="Lines of the agents that watch events: a warning of error-spikes is a spike.",
            queries=(
                Query(
                    own_rate("roughneck_agent_lines_total", "agent, level"),
                    "{{agent}} {{level}}",
                ),
            ),
            unit="cps",
        ),
    ),
)

PACE = Row(
    "How long it takes",
    (
        Panel(
            title="Oldest waiting job",
            what="Age by priority, in the open time of its class; target 2 min, 1 h, 4 h.",
            queries=(Query(highest("roughneck_oldest_age_seconds", "priority"), "{{priority}}"),),
            unit="s",
        ),
        Panel(
            title="Time to drain",
            what="What waits, over the pace of the last five minutes.",
            queries=(Query("class:roughneck_waiting:drain_seconds", "{{resource_class}}"),),
            unit="s",
        ),
        Panel(
            title="Wait until the first attempt, p95",
            what="Delays that were asked for included.",
            queries=(
                Query(
                    quantile(0.95, "roughneck_job_wait_seconds", "resource_class"),
                    "{{resource_class}}",
                ),
            ),
            unit="s",
        ),
        Panel(
            title="Attempts, p95",
            what="How long attempts ran.",
            queries=(
                Query(quantile(0.95, "roughneck_job_run_seconds", "processor"), "{{processor}}"),
            ),
            unit="s",
        ),
    ),
)

GATEWAY = Row(
    "Gateway",
    (
        Panel(
            title="Requests by status",
            what="Answered requests a second.",
            queries=(Query(own_rate("roughneck_gateway_requests_total", "code"), "{{code}}"),),
            unit="reqps",
            stack=True,
        ),
        Panel(
            title="Time to answer",
            what="From the request's head to the end of the answer; of a stream, to its beginning.",
            queries=(
                Query(quantile(0.5, "roughneck_gateway_request_seconds"), "p50"),
                Query(quantile(0.99, "roughneck_gateway_request_seconds"), "p99"),
            ),
            unit="s",
        ),
        Panel(
            title="Journal",
            what="Accepted jobs by where they are; what is spooled, Redis does not have.",
            queries=(
                Query("sum by (state) (roughneck_journal_rows)", "{{state}}"),
                Query("sum(roughneck_journals_adopted)", "adopted journals"),
            ),
        ),
        Panel(
            title="Oldest spooled job",
            what="How long the journal has held something that Redis does not have.",
            queries=(Query("max(roughneck_journal_oldest_seconds)", "oldest"),),
            unit="s",
        ),
    ),
)

REDIS = Row(
    "Redis",
    (
        Panel(
            title="Memory",
            what="In use, and the limit; above 80 % low priority is refused.",
            queries=(Query(highest("roughneck_redis_memory_bytes", "what"), "{{what}}"),),
            unit="bytes",
        ),
        Panel(
            title="Spooled bytes",
            what="What the journals hold for Redis.",
            queries=(Query("sum(roughneck_journal_bytes)", "bytes"),),
            unit="bytes",
        ),
        Panel(
            title="Reading Redis for a scrape",
            what="Its cost follows lanes, workers and apps, not jobs.",
            queries=(Query(highest("roughneck_redis_scrape_seconds"), "scrape"),),
            unit="s",
        ),
        Panel(
            title="Disk",
            what="1 while Redis' last write to its disk, and the journal's, succeeded.",
            queries=(
                Query("min(roughneck_redis_writes_to_disk)", "Redis"),
                Query("min(roughneck_journal_writable)", "journal"),
                Query("min(roughneck_redis_append_only)", "append-only file"),
            ),
        ),
    ),
)

HEALTH = Row(
    "Health of the parts",
    (
        Panel(
            title="Event loops of workers",
            what="How late each woke last; over 5 s a worker is unhealthy.",
            queries=(
                Query("max by (instance) (roughneck_event_loop_lag_seconds)", "{{instance}}"),
            ),
            unit="s",
        ),
        Panel(
            title="Verdicts owed",
            what="On the disks of workers, and not yet answered by Redis.",
            queries=(Query("sum by (instance) (roughneck_verdicts_owed)", "{{instance}}"),),
        ),
        Panel(
            title="Counters against structures",
            what="Must be 0: roughneck doctor says more.",
            queries=(
                Query(
                    highest("abs(roughneck_audit_difference)", "resource_class"),
                    "{{resource_class}}",
                ),
            ),
        ),
        Panel(
            title="Links and health of workers",
            what="1 while a worker reaches Redis, and while it works.",
            queries=(
                Query("min by (instance) (roughneck_redis_link_up)", "link of {{instance}}"),
                Query("min by (instance) (roughneck_worker_healthy)", "{{instance}}"),
            ),
        ),
    ),
)

LINK = Row(
    "The VPN",
    (
        Panel(
            title="Handshakes",
            what="Age of each peer's last handshake; over 180 s the link is dead.",
            queries=(
                Query(highest("roughneck_link_handshake_age_seconds", "device, peer"), "{{peer}}"),
            ),
            unit="s",
            steps=((180, BAD),),
        ),
        Panel(
            title="Traffic",
            what="Bytes a second, as this machine's WireGuard counts them.",
            queries=(
                Query(own_rate("roughneck_link_received_bytes_total", "peer"), "from {{peer}}"),
                Query(own_rate("roughneck_link_sent_bytes_total", "peer"), "to {{peer}}"),
            ),
            unit="Bps",
        ),
    ),
)

OVERVIEW = Dashboard(
    uid="roughneck-overview",
    title="Roughneck: overview",
    what="Is it well, and if not, where to look.",
    rows=(STANDING, FLOW, MINUTE, PACE, GATEWAY, REDIS, HEALTH, LINK),
)
