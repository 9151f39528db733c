"""The doctor: looks at a whole deployment and says what to do. It changes nothing unless told."""

from ops.doctor.access import check_users
from ops.doctor.endpoints import check_endpoints
from ops.doctor.examination import Check, Deployment, LocalCheck, examine, examine_here
from ops.doctor.finding import Finding, Level
from ops.doctor.jobs import check_auditor, check_counters, check_jobs, fix
from ops.doctor.keys import check_keys, check_records, check_retention
from ops.doctor.link import check_link
from ops.doctor.machine import (
    check_disks,
    check_embedded,
    check_journals,
    check_settings,
    check_software,
)
from ops.doctor.server import check_server
from ops.doctor.workers import check_workers

LOCAL = (
    LocalCheck("version", check_software),
    LocalCheck("settings", check_settings),
    LocalCheck("disk", check_disks),
    LocalCheck("journal", check_journals),
    LocalCheck("embedded", check_embedded),
)
FIRST = Check("link", check_link)  # alone, since the others would slow it down
REMOTE = (
    Check("server", check_server),
    Check("users", check_users),
    Check("workers", check_workers),
    Check("counters", check_counters),
    Check("jobs", check_jobs),
    Check("auditor", check_auditor),
    Check("records", check_records),
    Check("keys", check_keys),
    Check("retention", check_retention),
    Check("endpoints", check_endpoints),
)

__all__ = [
    "FIRST",
    "LOCAL",
    "REMOTE",
    "Check",
    "Deployment",
    "Finding",
    "Level",
    "LocalCheck",
    "examine",
    "examine_here",
    "fix",
]
