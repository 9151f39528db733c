"""The users of Redis: who we are, what that user may do too much, what each role lacks."""

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec
from redis.exceptions import ResponseError

from ops.acl import roles
from ops.doctor.examination import Deployment
from ops.doctor.finding import Finding, fine, listed, warning
from streams.scripts import Client, pairs, text

DANGEROUS = {  # command → categories that would grant it
    "flushall": {"all", "keyspace", "write", "slow", "dangerous"},
    "config": {"all", "admin", "slow", "dangerous"},
    "debug": {"all", "admin", "slow", "dangerous"},
    "keys": {"all", "keyspace", "read", "slow", "dangerous"},
    "shutdown": {"all", "admin", "slow", "dangerous"},
}
RULE = re.compile(r"^([+-])(@?)(.+)$")
AGAIN = "write the file anew with `roughneck acl`, then ACL LOAD"


class User(msgspec.Struct, frozen=True):
    """A user of Redis, as far as we may know it."""

    name: str
    enabled: bool
    without_password: bool
    rules: tuple[str, ...]  # of commands, in order


async def check_users(deployment: Deployment) -> list[Finding]:
    """Look at ourselves, at the user without a name, and at every role that is there."""
    if "path" in deployment.engine.redis.connection_pool.connection_kwargs:
        return [fine("users", "the server is reached through a unix socket of our own")]
    redis: Client = deployment.engine.redis
    me = text(await redis.execute_command("ACL WHOAMI"))
    names = dict.fromkeys([me, "default", *roles()])
    users = {name: user for name in names if (user := await _user(redis, name)) is not None}
    return judge_users(me, users)


def judge_users(me: str, users: Mapping[str, User]) -> list[Finding]:
    """What is too much for us, and what is too little for the roles."""
    found = []
    default = users.get("default")
    if default and default.enabled and default.without_password:
        what = "anybody may come in without a password, and do everything"
        found.append(warning("users", what, "give each role a user: `roughneck acl`"))
    too_much = sorted(name for name in DANGEROUS if me in users and may(users[me].rules, name))
    if too_much and me != "admin":
        what = f"we are `{me}`, who may {listed(too_much)}"
        found.append(warning("users", what, "use the user of our role: `roughneck acl`"))
    for name, rules in roles().items():
        if name in users and name != "admin":
            needed = {rule[1:] for rule in rules if rule.startswith("+")}
            if lacks := lacking(users[name].rules, needed):
                what = f"user `{name}` lacks {listed(lacks)}"
                found.append(warning("users", what, AGAIN))
    return found or [fine("users", f"we are `{me}`; nobody may do too much or too little")]


def lacking(rules: Sequence[str], needed: Collection[str]) -> list[str]:
    """The commands that rules do not grant; of rules by category nothing can be said."""
    if any("@" in rule and not rule.endswith("@all") for rule in rules):
        return []
    return sorted(command for command in needed if not may(rules, command))


def may(rules: Sequence[str], command: str) -> bool:
    """Whether rules grant a command; the last that speaks of it decides.

    Categories count where they are `all`, or those of a dangerous command.
    """
    granted, (head, _, _) = False, command.partition("|")
    for rule in rules:
        match = RULE.match(rule)
        if match is None:
            continue
        sign, category, name = match.groups()
        speaks = name in DANGEROUS.get(head, {"all"}) if category else name in (command, head)
        if speaks:
            granted = sign == "+"
    return granted


async def _user(redis: Client, name: str) -> User | None:
    """A user, or None when there is none or we may not know."""
    try:
        reply = await redis.execute_command("ACL", "GETUSER", name)
    except ResponseError:
        return None
    if not reply:
        return None
    raw = reply if isinstance(reply, Mapping) else dict(pairs(reply))
    fields = {text(key): value for key, value in raw.items()}
    flags = {text(flag) for flag in fields.get("flags", ())}
    commands = fields.get("commands", "")
    return User(
        name=name,
        enabled="on" in flags,
        without_password="nopass" in flags,
        rules=tuple(text(commands).split()),
    )
