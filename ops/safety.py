"""What is unsafe about a Redis server that somebody else runs: said at start.

The reading is apart from the judging, so that every rule is a line in a table of tests.
"""

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import ip_address
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

VERSION_MIN = (6, 2)
VERSION_ADVISED = (7, 0)
USED_SHARE_MAX = 0.8
WANTED = (
    "appendonly",
    "appendfsync",
    "maxmemory",
    "maxmemory-policy",
    "protected-mode",
    "bind",
    "cluster-enabled",
    "no-appendfsync-on-rewrite",
)


class Severity(StrEnum):
    """How bad a concern is."""

    REFUSED = "refused"  # we do not start on such a server
    UNSAFE = "unsafe"  # jobs can be lost or read by others
    NOTED = "noted"  # it works, and better is possible


class Concern(msgspec.Struct, frozen=True):
    """One thing that is wrong with a server, and what to do about it."""

    severity: Severity
    what: str
    remedy: str

    @property
    def sentence(self) -> str:
        """Both, as one line."""
        return f"{self.what}; {self.remedy}"


class ServerReport(msgspec.Struct, frozen=True):
    """What a server says about itself; of its options what INFO tells, and CONFIG if allowed."""

    version: tuple[int, ...]
    used_memory: int
    options: Mapping[str, str]
    has_password: bool
    last_write_ok: bool = True
    config_read: bool = True

    @property
    def label(self) -> str:
        """The version as people write it."""
        return ".".join(str(part) for part in self.version)


async def survey(redis: "Redis") -> ServerReport:
    """Ask a server about itself. Raises redis.RedisError when it does not answer."""
    facts = await redis.info("everything")
    options, config_read = options_of(facts), True
    try:
        for wanted in WANTED:  # 6.2 takes one name a call
            raw = await redis.config_get(wanted)
            options |= {_text(name): _text(value) for name, value in raw.items()}
    except ResponseError:
        config_read = False
    return ServerReport(
        version=tuple(int(part) for part in _text(facts["redis_version"]).split(".")[:3]),
        used_memory=int(facts["used_memory"]),
        options=options,
        has_password=await _has_password(redis),
        last_write_ok=facts.get("aof_last_write_status", "ok") == "ok",
        config_read=config_read,
    )


def options_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """What INFO tells of the configuration."""
    return {
        "appendonly": "yes" if facts.get("aof_enabled") == 1 else "no",
        "maxmemory": str(facts.get("maxmemory", 0)),
        "maxmemory-policy": str(facts.get("maxmemory_policy", "")),
        "cluster-enabled": "yes" if facts.get("cluster_enabled") == 1 else "no",
    }


def concerns(report: ServerReport) -> list[Concern]:
    """What is wrong with the server, worst first; empty when all is well."""
    found = [
        *version_concerns(report),
        *durability_concerns(report, report.options),
        *memory_concerns(report, report.options),
        *access_concerns(report, report.options),
    ]
    order = list(Severity)
    return sorted(found, key=lambda concern: order.index(concern.severity))


def version_concerns(report: ServerReport) -> list[Concern]:
    """What speaks against this version."""
    if report.version[:2] < VERSION_MIN:
        what = f"Redis {report.label} lacks XAUTOCLAIM"
        return [Concern(Severity.REFUSED, what, "install 6.2 or newer")]
    if report.version[:2] < VERSION_ADVISED:
        what = f"Redis {report.label} is out of support"
        return [Concern(Severity.NOTED, what, "install 7.0 or newer, or Valkey")]
    return []


def durability_concerns(report: ServerReport, options: Mapping[str, str]) -> list[Concern]:
    """How accepted jobs could be lost."""
    if options.get("cluster-enabled") == "yes":
        what = "the server is part of a cluster"
        return [Concern(Severity.NOTED, what, "all keys lie in one slot, on one shard")]
    if options.get("appendonly") != "yes":
        what = "appendonly is off: a restart of Redis loses jobs"
        return [Concern(Severity.UNSAFE, what, "set `appendonly yes`")]
    if options.get("appendfsync") == "no":
        what = "appendfsync is `no`: a power cut loses what the kernel had not written"
        return [Concern(Severity.UNSAFE, what, "set `appendfsync everysec`")]
    if not report.last_write_ok:
        what = "the last write of the append-only file failed"
        return [Concern(Severity.UNSAFE, what, "look at the disk and at Redis' log")]
    return []


def memory_concerns(report: ServerReport, options: Mapping[str, str]) -> list[Concern]:
    """What happens when memory is short."""
    found = []
    policy, limit = options.get("maxmemory-policy", ""), int(options.get("maxmemory", 0))
    if policy != "noeviction":
        what = f"maxmemory-policy is `{policy}`: Redis may throw jobs away when memory is short"
        found.append(Concern(Severity.UNSAFE, what, "set `maxmemory-policy noeviction`"))
    if limit == 0:
        what = "maxmemory is not set: Redis may grow until the kernel kills it"
        found.append(Concern(Severity.NOTED, what, "set `maxmemory`, such as `1gb`"))
    elif report.used_memory > limit * USED_SHARE_MAX:
        what = f"memory is {report.used_memory * 100 // limit} % used"
        found.append(Concern(Severity.NOTED, what, "raise `maxmemory` or shorten retention"))
    return found


def access_concerns(report: ServerReport, options: Mapping[str, str]) -> list[Concern]:
    """Who else may come in."""
    addresses = options.get("bind", "").split()
    open_to_all = not addresses or any(not _is_loopback(address) for address in addresses)
    if report.has_password or not open_to_all:
        return []
    if options.get("protected-mode") == "yes":
        return []  # without a password it then answers on loopback only
    what = "anyone who reaches the server may read and write it"
    return [Concern(Severity.UNSAFE, what, "set a password, or bind it to loopback or the VPN")]


def _is_loopback(bound: str) -> bool:
    try:
        return ip_address(bound.lstrip("-").replace("*", "0.0.0.0")).is_loopback
    except ValueError:
        return bound == "localhost"


async def _has_password(redis: "Redis") -> bool:
    """Whether the user without a name must give a password, as far as we are allowed to know."""
    try:
        user: dict[str, Any] = dict(await redis.acl_getuser("default") or {})
    except RedisError:
        return True  # we are another user already
    return not user.get("enabled", True) or "nopass" not in user.get("flags", ())


def _text(raw: object) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
