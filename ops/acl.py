"""The users of the shipped ACL file: one for each role, each with a password of its own."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from streams.errors import ConfigError

USER = re.compile(r"^user (\w+) (.*)$", re.MULTILINE)
PLACE = re.compile(r"#(\w+)_SHA256")
SHIPPED_TAG = "{rn}"
PASSWORD_BYTES = 32


def template() -> str:
    """The shipped file; a hash to fill in stands as `#WORKER_SHA256`."""
    return (resources.files("ops") / "deploy" / "redis" / "users.acl").read_text("utf-8")


def roles() -> dict[str, tuple[str, ...]]:
    """The users that have a password, each with its rules in order."""
    found = {name: tuple(rules.split()) for name, rules in USER.findall(template())}
    return {name: rules for name, rules in found.items() if "on" in rules}


def render(passwords: Mapping[str, str], tag: str = "rn") -> str:
    """The ACL file for these passwords by role, which it holds as SHA-256 only."""

    def hashed(place: re.Match[str]) -> str:
        return "#" + hashlib.sha256(passwords[place[1].lower()].encode()).hexdigest()

    return PLACE.sub(hashed, template()).replace(SHIPPED_TAG, f"{{{tag}}}")


def write(folder: Path, url: str, tag: str = "rn") -> list[Path]:
    """Write `users.acl`, and the URL of each role to a file that only its owner can read.

    Passwords of URL files that are there are kept, so that a role gets a new one by deleting its
    file first. Raises ConfigError for a URL that is none, or a folder that cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.url" for name in roles()}
        passwords = {name: _password(path) for name, path in paths.items()}
        for name, path in paths.items():
            _write(path, f"{_with_user(url, name, passwords[name])}\n", mode=0o600)
        users = folder / "users.acl"
        _write(users, render(passwords, tag), mode=0o644)  # Redis reads it; hashes say nothing
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder}: {error}") from error
    return [users, *paths.values()]


def _password(path: Path) -> str:
    if path.exists():
        known = urlsplit(path.read_text("utf-8").strip()).password
        if not known:
            raise ConfigError(f"{path} holds no password; delete it, and a new one is made")
        return unquote(known)
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _with_user(url: str, name: str, password: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigError("the users need a server that is reached as redis://HOST:PORT/0")
    where = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{name}:{quote(password, safe='')}@{where}").geturl()


def _write(path: Path, text: str, *, mode: int) -> None:
    """Whole or not at all: a half written file would lock everybody out."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=mode)
    fresh.chmod(mode)
    fresh.write_text(text, "utf-8")
    fresh.replace(path)
