"""The Redis server: version, durability, memory, role, from INFO and, where allowed, CONFIG."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.doctor.examination import AS_OPERATOR, Deployment
from ops.doctor.finding import Finding, Level, fine, problem, warning
from ops.safety import (
    Concern,
    ServerReport,
    Severity,
    access_concerns,
    durability_concerns,
    memory_concerns,
    survey,
    version_concerns,
)

ROOM_SHARE = 0.75  # of the machine: a rewrite of the append-only file needs room of its own
FULL_SHARE = 0.95
CLIENTS_SHARE = 0.8
MB = 1024 * 1024

Info = Mapping[str, Any]


async def check_server(deployment: Deployment) -> list[Finding]:
    """Ask the server about itself, and judge."""
    redis = deployment.engine.redis
    info = await redis.info("everything")
    return judge_server(await survey(redis), info)


def judge_server(report: ServerReport, info: Info) -> list[Finding]:
    """Every topic gets at least one line."""
    options = report.options
    found = [
        *_topic("version", version_concerns(report), [], f"Redis {report.label}"),
        *_topic("durability", durability_concerns(report, options), _durability(info, options)),
        *_topic("memory", memory_concerns(report, options), _memory(info)),
        *_topic("access", access_concerns(report, options), [], "not open to strangers"),
        *_topic("role", [], _role(info), "a primary, without evictions"),
    ]
    if not report.config_read:
        what = "appendfsync and bind could not be read: this user may not call CONFIG GET"
        found.append(warning("durability", what, AS_OPERATOR))
    return found


def _topic(
    topic: str, concerns: Sequence[Concern], more: Sequence[Finding], well: str = ""
) -> list[Finding]:
    found = [
        Finding(topic, _level(concern.severity), concern.what, concern.remedy)
        for concern in concerns
    ]
    return [*found, *more] or [fine(topic, well or "as it should be")]


def _level(severity: Severity) -> Level:
    return Level.WARNING if severity is Severity.NOTED else Level.PROBLEM


def _durability(info: Info, options: Mapping[str, str]) -> list[Finding]:
    found = []
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        what = "the last rewrite of the append-only file failed: it grows without end"
        found.append(problem("durability", what, "free disk and memory, and look at Redis' log"))
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        what = "the last snapshot failed: Redis may refuse all writes"
        found.append(problem("durability", what, 'free the disk, or set `save ""`'))
    delayed = int(info.get("aof_delayed_fsync", 0))
    if delayed:
        what = f"the disk was late {delayed} times since the start: up to two seconds can be lost"
        found.append(warning("durability", what, "give Redis a faster disk, or one of its own"))
    if options.get("no-appendfsync-on-rewrite") == "yes":
        what = "nothing is synced while the append-only file is rewritten"
        found.append(warning("durability", what, "set `no-appendfsync-on-rewrite no`"))
    return found


def _memory(info: Info) -> list[Finding]:
    limit, machine = int(info.get("maxmemory", 0)), int(info.get("total_system_memory", 0))
    used = int(info.get("used_memory", 0))
    if limit and used > limit * FULL_SHARE:
        what = f"memory is full, {used // MB} of {limit // MB} MB: new jobs are refused"
        return [problem("memory", what, "raise `maxmemory`, or shorten `engine.retention_s`")]
    if limit and machine and limit > machine * ROOM_SHARE:
        what = f"maxmemory is {limit * 100 // machine} % of the machine: a rewrite may not fit"
        return [warning("memory", what, f"set it below {int(machine * ROOM_SHARE) // MB} MB")]
    return []


def _role(info: Info) -> list[Finding]:
    found = []
    if info.get("role") == "slave":
        found.append(problem("role", "this is a replica: it refuses writes", "name the primary"))
    evicted = int(info.get("evicted_keys", 0))
    if evicted:
        what = f"{evicted} keys were thrown away for lack of memory: jobs may be lost"
        found.append(problem("role", what, "set `maxmemory-policy noeviction`, then restart Redis"))
    clients, most = int(info.get("connected_clients", 0)), int(info.get("maxclients", 0))
    if most and clients > most * CLIENTS_SHARE:
        what = f"{clients} of {most} connections are taken"
        found.append(warning("role", what, "raise `maxclients`, or look who connects"))
    return found
