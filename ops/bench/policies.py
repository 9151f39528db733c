"""Rules to compare ours with: put in the place of lua/lib/rule.lua, in measurements only.

They lie beside the measurements and not among the engine's scripts, which is all that a platform
reads: none can come into use by a setting or by mistake.
"""

from collections.abc import Mapping
from importlib import resources

from streams.dispatch import TARGET_MS
from streams.scripts import read_sources

OURS = "roughneck"
POLICIES = ("fifo", "strict", "drain", OURS)
RULE = "lib/rule"


def sources_for(policy: str, speed: float) -> Mapping[str, str]:
    """All scripts, with the rule of a policy. Ours is scaled to a clock `speed` times as fast.

    Raises ValueError for an unknown policy, and when the targets do not stand where they stood.
    """
    sources = read_sources()
    if policy == OURS:
        return {**sources, RULE: scaled(sources[RULE], speed)}
    if policy not in POLICIES:
        raise ValueError(f"no policy {policy!r}: {', '.join(POLICIES)}")
    rule = resources.files("ops.bench") / "rules" / f"{policy}.lua"
    return {**sources, RULE: rule.read_text("utf-8")}


def scaled(rule: str, speed: float) -> str:
    """Our rule with its targets divided, since jobs age by the real clock."""
    for priority, target_ms in TARGET_MS.items():
        old, new = f"{priority} = {target_ms}", f"{priority} = {target_ms / speed:.6f}"
        if rule.count(old) != 1:
            raise ValueError(f"the target of {priority} is not {target_ms} in {RULE}.lua")
        rule = rule.replace(old, new)
    return rule
