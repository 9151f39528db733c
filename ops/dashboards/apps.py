"""What each app asks for and gets."""

from ops.dashboards.build import Dashboard, Panel, Query, Row, highest, share, truth, truth_rate

APP, OF = 'app=~"$app"', "{{app}}"
FAILED = f'{APP},state!="succeeded"'

WORK = Row(
    "Jobs",
    (
        Panel(
            title="Submitted",
            what="Jobs a second.",
            queries=(Query(truth_rate("roughneck_app_jobs_submitted_total", "app", APP), OF),),
            unit="cps",
            stack=True,
        ),
        Panel(
            title="Ended",
            what="Jobs a second.",
            queries=(Query(truth_rate("roughneck_app_jobs_ended_total", "app", APP), OF),),
            unit="cps",
            stack=True,
        ),
        Panel(
            title="Ended without success",
            what="The share of ended jobs that are dead, cancelled or expired.",
            queries=(
                Query(
                    share(
                        truth_rate("roughneck_app_jobs_ended_total", "app", FAILED),
                        truth_rate("roughneck_app_jobs_ended_total", "app", APP),
                    ),
                    OF,
                ),
            ),
            unit="percentunit",
        ),
    ),
)

WAIT = Row(
    "Waiting",
    (
        Panel(
            title="Waiting",
            what="Jobs that wait for a slot.",
            queries=(Query(truth("roughneck_app_waiting", "app", APP), OF),),
            stack=True,
        ),
        Panel(
            title="Active",
            what="Jobs under way: apps take turns, so nobody starves the others.",
            queries=(Query(truth("roughneck_app_active", "app", APP), OF),),
            stack=True,
        ),
        Panel(
            title="Oldest waiting job",
            what="Age in the open time of its class.",
            queries=(Query(highest("roughneck_app_oldest_age_seconds", "app", APP), OF),),
            unit="s",
        ),
        Panel(
            title="Apps not shown",
            what="Only the fifty that submitted most have series.",
            queries=(Query(highest("roughneck_apps_unlisted")),),
            kind="stat",
        ),
    ),
)

APPS = Dashboard(
    uid="roughneck-apps",
    title="Roughneck: apps",
    what="What each app asks for and gets.",
    rows=(WORK, WAIT),
    variables={"app": "label_values(roughneck_app_waiting, app)"},
)
