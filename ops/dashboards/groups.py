"""The consumer groups: three streams made of lanes, and the workers that read them."""

from ops.dashboards.build import (
    BAD,
    WARN,
    Dashboard,
    Panel,
    Query,
    Row,
    highest,
    own_rate,
    truth,
    truth_rate,
)

CLASS = "{{resource_class}}"
LANES = Row(
    "Lanes",
    (
        Panel(
            title="Waiting",
            what="Entries that the groups have not delivered.",
            queries=(
                Query(
                    truth("roughneck_lanes_waiting", "resource_class, priority"),
                    f"{CLASS} {{{{priority}}}}",
                ),
            ),
            stack=True,
        ),
        Panel(
            title="Pending",
            what="Delivered and not acknowledged: attempts under way, and those of dead workers.",
            queries=(
                Query(
                    truth("roughneck_lanes_pending", "resource_class, priority"),
                    f"{CLASS} {{{{priority}}}}",
                ),
            ),
            stack=True,
        ),
        Panel(
            title="Lag as Redis tells it",
            what="XINFO GROUPS, where Redis knows it (7.0 and later); equals what waits.",
            queries=(Query(truth("roughneck_lanes_lag", "resource_class"), CLASS),),
        ),
        Panel(
            title="Lanes",
            what="How many lanes hold anything.",
            queries=(Query(truth("roughneck_lanes", "resource_class"), CLASS),),
        ),
    ),
)

RATES = Row(
    "In and out",
    (
        Panel(
            title="Submitted",
            what="Jobs a second by class.",
            queries=(Query(truth_rate("roughneck_jobs_submitted_total", "resource_class"), CLASS),),
            unit="cps",
        ),
        Panel(
            title="Attempts started",
            what="A second, by class.",
            queries=(
                Query(truth_rate("roughneck_attempts_started_total", "resource_class"), CLASS),
            ),
            unit="cps",
        ),
        Panel(
            title="Attempts after which the job went on",
            what="Retried, put back, handed back by a stop, lost with a worker.",
            queries=(
                Query(truth_rate("roughneck_attempts_continued_total", "outcome"), "{{outcome}}"),
            ),
            unit="cps",
        ),
        Panel(
            title="Oldest waiting job",
            what="Age by class, in its open time.",
            queries=(Query(highest("roughneck_oldest_age_seconds", "resource_class"), CLASS),),
            unit="s",
        ),
        Panel(
            title="Estimates of starts",
            what="How far they were off lately; late: jobs started later than foretold.",
            queries=(
                Query(
                    highest("roughneck_start_estimate_off_seconds", "resource_class"),
                    "off {{resource_class}}",
                ),
                Query(
                    highest("roughneck_start_estimate_late_seconds", "resource_class"),
                    "late {{resource_class}}",
                ),
            ),
            unit="s",
        ),
    ),
)

LEASES = Row(
    "Leases",
    (
        Panel(
            title="Leases by pool",
            what="Given out, against what there may be at once.",
            queries=(
                Query(highest("roughneck_pool_leases", "pool"), "{{pool}}"),
                Query(highest("roughneck_pool_limit", "pool"), "limit of {{pool}}"),
            ),
        ),
        Panel(
            title="Expired leases",
            what="Their workers fell silent, and nobody took the jobs yet.",
            queries=(Query(highest("roughneck_pool_leases_expired", "pool"), "{{pool}}"),),
        ),
        Panel(
            title="Leases lost while running",
            what="Workers that found that somebody else has the job.",
            queries=(Query(own_rate("roughneck_lease_lost_total"), "lost"),),
            unit="cps",
        ),
        Panel(
            title="Nobody can serve",
            what="Lanes whose processor, or model, no live worker has.",
            queries=(
                Query(
                    highest("roughneck_lanes_unserved", "resource_class, missing"),
                    f"{CLASS}: no {{{{missing}}}}",
                ),
            ),
        ),
    ),
)

WORKERS = Row(
    "Workers",
    (
        Panel(
            title="Slots in use",
            what="Of all slots of live workers.",
            queries=(
                Query(
                    f"{highest('roughneck_worker_running', 'resource_class')} / "
                    f"({highest('roughneck_worker_slots', 'resource_class')} > 0)",
                    CLASS,
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Workers by condition",
            what="Working, unhealthy, or stopping.",
            queries=(
                Query(
                    highest("roughneck_workers", "resource_class, condition"),
                    f"{CLASS} {{{{condition}}}}",
                ),
            ),
            stack=True,
        ),
        Panel(
            title="Attempts by worker",
            what="A second, as each worker counts them.",
            queries=(
                Query(
                    own_rate("roughneck_job_attempts_total", "instance, outcome"),
                    "{{instance}} {{outcome}}",
                ),
            ),
            unit="cps",
        ),
        Panel(
            title="Running and slots by worker",
            what="As each worker counts them.",
            queries=(
                Query("sum by (instance) (roughneck_jobs_running)", "{{instance}}"),
                Query("sum by (instance) (roughneck_slots)", "slots of {{instance}}"),
            ),
        ),
    ),
)

STANDING = Row(
    "Now",
    (
        Panel(
            title="Paused classes",
            what="Classes of which nothing is leased until an operator resumes them.",
            queries=(Query("sum(max by (resource_class) (roughneck_class_paused))"),),
            kind="stat",
            steps=((1, WARN),),
        ),
        Panel(
            title="Unserved lanes",
            what="Lanes that no live worker can take from.",
            queries=(Query(truth("roughneck_lanes_unserved")),),
            kind="stat",
            steps=((1, BAD),),
        ),
        Panel(
            title="Leases that ran out",
            what="Over all pools.",
            queries=(Query(truth("roughneck_pool_leases_expired")),),
            kind="stat",
            steps=((1, WARN),),
        ),
        Panel(
            title="Versions",
            what="How many versions of workers run: more than one only during an upgrade.",
            queries=(Query("count(count by (version) (roughneck_build_info))"),),
            kind="stat",
            steps=((2, WARN),),
        ),
    ),
)

GROUPS = Dashboard(
    uid="roughneck-groups",
    title="Roughneck: consumer groups",
    what="Three streams made of lanes: what waits in them, and the workers that read them.",
    rows=(STANDING, LANES, RATES, LEASES, WORKERS),
)
