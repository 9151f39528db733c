"""Callbacks: what apps are told, and whom nothing reaches."""

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
            title="Waiting",
            what="Callbacks that are not delivered yet.",
            queries=(Query(truth("roughneck_callbacks", where='state="waiting"')),),
            kind="stat",
        ),
        Panel(
            title="Oldest",
            what="Since the oldest deliverable callback became so.",
            queries=(Query(highest("roughneck_callback_oldest_age_seconds")),),
            unit="s",
            kind="stat",
            steps=((60, WARN), (600, BAD)),
        ),
        Panel(
            title="Given up",
            what="Callbacks that are dead letters.",
            queries=(Query(truth("roughneck_callbacks", where='state="dead"')),),
            kind="stat",
            steps=((1, WARN),),
        ),
        Panel(
            title="Open breakers",
            what="Endpoints that are left alone for a while.",
            queries=(Query(highest("roughneck_endpoints_open")),),
            kind="stat",
            steps=((1, WARN),),
        ),
        Panel(
            title="Disabled endpoints",
            what="They get nothing until somebody enables them.",
            queries=(Query(highest("roughneck_endpoints_disabled")),),
            kind="stat",
            steps=((1, BAD),),
        ),
    ),
)

DELIVERIES = Row(
    "Deliveries",
    (
        Panel(
            title="Recorded and attempted",
            what="Callbacks that came into being, and attempts by what became of them, a second.",
            queries=(
                Query(truth_rate("roughneck_callbacks_recorded_total"), "recorded"),
                Query(own_rate("roughneck_callback_deliveries_total", "outcome"), "{{outcome}}"),
            ),
            unit="cps",
        ),
        Panel(
            title="Failures by class",
            what="Attempts that failed, a second.",
            queries=(
                Query(
                    own_rate("roughneck_callback_deliveries_total", "error", 'error!=""'),
                    "{{error}}",
                ),
            ),
            unit="cps",
            stack=True,
        ),
        Panel(
            title="Time of an attempt",
            what="From the connection to the receiver's answer.",
            queries=(
                Query(quantile(0.5, "roughneck_callback_delivery_seconds"), "p50"),
                Query(quantile(0.95, "roughneck_callback_delivery_seconds"), "p95"),
            ),
            unit="s",
        ),
    ),
)

ENDPOINTS = Row(
    "Endpoints",
    (
        Panel(
            title="Callbacks by state",
            what="Kept ones.",
            queries=(Query(truth("roughneck_callbacks", "state"), "{{state}}"),),
        ),
        Panel(
            title="Endpoints that wait",
            what="How many have a deliverable callback older than so long.",
            queries=(
                Query(highest("roughneck_endpoints_waiting", "older_than"), "{{older_than}} s"),
            ),
        ),
        Panel(
            title="Changes of endpoints",
            what="Breakers that opened or closed, endpoints that were disabled, in ten minutes.",
            queries=(
                Query(
                    "sum by (change) (increase(roughneck_endpoint_changes_total[10m]))",
                    "{{change}}",
                ),
            ),
        ),
    ),
)

CALLBACKS = Dashboard(
    uid="roughneck-callbacks",
    title="Roughneck: callbacks",
    what="What apps are told, and whom nothing reaches. roughneck endpoints list names them.",
    rows=(STANDING, DELIVERIES, ENDPOINTS),
)
