"""A server as we ship it: its configuration, its users, and their URLs."""

from importlib import resources
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from ops.acl import write
from ops.redis_binary import RedisBinary
from tests.support.redis_server import RedisServer

PLACES = ("bind", "port", "dir", "logfile", "aclfile")  # which a test chooses itself


def shipped_lines() -> list[str]:
    """The directives of the shipped redis.conf."""
    text = (resources.files("ops") / "deploy" / "redis" / "redis.conf").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


class GuardedServer(RedisServer):
    """A server with the shipped configuration and users. `url` is the admin's."""

    def __init__(self, binary: RedisBinary, folder: Path, *options: str) -> None:
        self.roles = folder / "roles"
        write(self.roles, "redis://127.0.0.1:1/0")
        lines = [line for line in shipped_lines() if line.split()[0] not in PLACES]
        super().__init__(binary, *lines, f"aclfile {self.roles / 'users.acl'}", *options)
        write(self.roles, f"redis://127.0.0.1:{self.port}/0")  # the port is known now

    @property
    def url(self) -> str:
        return self.url_of("admin")

    def url_of(self, role: str) -> str:
        return (self.roles / f"{role}.url").read_text("utf-8").strip()


async def refused(admin: "Redis") -> set[tuple[str, str]]:
    """Who was refused what, but for what a client tries out of courtesy, and wrong passwords."""
    found = set()
    for row in await admin.execute_command("ACL", "LOG", 100):
        pairs = row.items() if isinstance(row, dict) else zip(row[::2], row[1::2], strict=True)
        fields = {_text(name): _text(value) for name, value in pairs}
        if fields["reason"] != "auth" and not fields["object"].startswith("client"):
            found.add((fields["username"], fields["object"]))
    return found


def _text(raw: Any) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
