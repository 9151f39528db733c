"""Clocks and counters: what Redis and the rest of the machine used while something was measured."""

import os
import time
from pathlib import Path

import msgspec
from redis.asyncio import Redis

TICK = os.sysconf("SC_CLK_TCK")
STAT = Path("/proc/stat")


class Reading(msgspec.Struct, frozen=True):
    """One look at all clocks. Seconds, of CPU but for `at_s`, which is the monotonic clock."""

    at_s: float
    redis_cpu_s: float
    machine_cpu_s: float  # of all processes together; 0 where the system does not say
    commands: int
    reads: int  # socket reads of Redis


class Used(msgspec.Struct, frozen=True):
    """What was used between two looks."""

    seconds: float
    redis_cpu_s: float
    machine_cpu_s: float
    commands: int
    reads: int

    def others(self, cpu_s: float) -> float:
        """How many cores the rest of the machine kept busy, where ours used `cpu_s` seconds."""
        rest = self.machine_cpu_s - self.redis_cpu_s - cpu_s
        return max(0.0, rest) / self.seconds


async def read(redis: "Redis") -> Reading:
    """Look at all clocks now."""
    used = await redis.info("cpu")
    done = await redis.info("stats")
    return Reading(
        at_s=time.monotonic(),
        redis_cpu_s=float(used["used_cpu_user"]) + float(used["used_cpu_sys"]),
        machine_cpu_s=machine_cpu_s(),
        commands=int(done["total_commands_processed"]),
        reads=int(done["total_reads_processed"]),
    )


def between(first: Reading, last: Reading) -> Used:
    """What was used from one look to the other."""
    return Used(
        seconds=last.at_s - first.at_s,
        redis_cpu_s=last.redis_cpu_s - first.redis_cpu_s,
        machine_cpu_s=last.machine_cpu_s - first.machine_cpu_s,
        commands=last.commands - first.commands,
        reads=last.reads - first.reads,
    )


def machine_cpu_s() -> float:
    """Busy CPU seconds of all cores since the machine started, 0 where there is no Linux /proc."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = (
        int(ticks) for ticks in STAT.read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICK


def process_cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, user and system; 0 where the system does not say."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
