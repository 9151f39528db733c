"""Secrets of endpoints at rest: sealed with AES-256-GCM under a key from a file, opened to sign.

Redis, its backups and the gateways' copies hold sealed text only. A sealed text names the key that
opens it and is bound to its endpoint. The file's first key seals and every key in it opens, so that
a new key comes in without a moment in which something cannot be opened.
"""

import base64
import binascii
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.signing import PREFIX
from streams.directory import Endpoint
from streams.errors import ConfigError, Unavailable

SEALED = re.compile(r"sealed\.v1\.(?P<key>[0-9a-f]{16})\.(?P<text>[A-Za-z0-9_=-]+)")
KEY_BYTES, NONCE_BYTES = 32, 12
HEAD = """\
# Opens the signing secrets of endpoints. Every gateway and courier needs this same file: without it
# callbacks wait. The first line seals, all lines open. Keep a copy away from that of Redis.
"""

log = logging.getLogger(__name__)


class SealKeyMissing(Unavailable):
    """The key that a secret was sealed with is not in the key file, or there is no such file."""

    code = "seal_key_missing"


class SealSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key is that seals what must not be read in Redis."""

    key_file: str = "~/.roughneck/secrets.key"  # made at the gateway's first start


class Seals:
    """Seals and opens with the keys of one file, which is read again whenever it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser()
        self._stamp: tuple[int, ...] = ()
        self._keys: dict[str, AESGCM] = {}

    def ensure(self) -> None:
        """Make the file, with mode 0600, unless it is there. Raises ConfigError."""
        try:
            if self.path.exists():
                self._read()
                return
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                if not self.path.exists():
                    self._write([new_line()])
        except OSError as error:
            raise ConfigError(f"the key file {self.path}: {error.strerror}") from error

    def add_key(self) -> str:
        """Put a new key first; what is sealed from now on is sealed with it. Its id."""
        self.ensure()
        line = new_line()
        with self._locked():
            lines = [one for one in self.path.read_text("ascii").splitlines() if is_key(one)]
            self._write([line, *lines])
        return line.split()[0]

    def seal(self, secret: str, endpoint_id: str) -> str:
        """The sealed form of an endpoint's secret. Raises SealKeyMissing without a key."""
        keys = self._read()
        key_id = next(iter(keys))
        nonce = secrets.token_bytes(NONCE_BYTES)
        text = nonce + keys[key_id].encrypt(nonce, secret.encode(), endpoint_id.encode())
        return f"sealed.v1.{key_id}.{base64.urlsafe_b64encode(text).decode()}"

    def open(self, stored: str, endpoint_id: str) -> str:
        """The secret itself; one that was never sealed is returned as it is.

        Raises SealKeyMissing, and ConfigError for a text that was changed or is another endpoint's.
        """
        if stored.startswith(PREFIX):
            return stored
        match = SEALED.fullmatch(stored)
        if match is None:
            raise ConfigError("a stored secret is neither plain nor sealed")
        key = self._read().get(match["key"])
        if key is None:
            raise self._missing(f"key {match['key']} is not in {self.path}")
        try:
            text = base64.urlsafe_b64decode(match["text"])
            nonce, sealed = text[:NONCE_BYTES], text[NONCE_BYTES:]
            return key.decrypt(nonce, sealed, endpoint_id.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise ConfigError(f"a sealed secret of {endpoint_id} was changed") from error

    def resealed(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with every secret under the first key; itself if they are."""
        newest = next(iter(self._read()))
        if all(sealed.startswith(f"sealed.v1.{newest}.") for sealed in endpoint.secrets):
            return endpoint
        plain = [self.open(stored, endpoint.id) for stored in endpoint.secrets]
        return msgspec.structs.replace(
            endpoint, secrets=tuple(self.seal(secret, endpoint.id) for secret in plain)
        )

    def live(self, endpoint: Endpoint, now_ms: int) -> tuple[str, ...]:
        """The secrets that sign now, newest first: the previous one until its time has come."""
        return tuple(self.open(stored, endpoint.id) for stored in live_secrets(endpoint, now_ms))

    def _read(self) -> dict[str, AESGCM]:
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_ino, found.st_size)
            if stamp != self._stamp:
                lines = self.path.read_text("ascii").splitlines()
                self._keys = dict(parse_key(line) for line in lines if is_key(line))
                self._stamp = stamp
                if found.st_mode & 0o077:
                    log.warning("others may read the key file", extra={"path": str(self.path)})
        except (OSError, UnicodeDecodeError) as error:
            raise self._missing(f"{self.path} cannot be read") from error
        if not self._keys:
            raise self._missing(f"there is no key in {self.path}")
        return self._keys

    def _missing(self, what: str) -> SealKeyMissing:
        return SealKeyMissing(
            f"{what}: copy it from the gateway that registered the endpoint", after_s=30.0
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among those who write the file."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, lines: list[str]) -> None:
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(HEAD + "".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)


def live_secrets(endpoint: Endpoint, now_ms: int) -> tuple[str, ...]:
    """The stored secrets that count now; a previous one without an end goes with a rotation."""
    over = 0 < endpoint.previous_until_ms <= now_ms
    return endpoint.secrets[:1] if over else endpoint.secrets


def new_line() -> str:
    """A fresh key as it stands in the file: its id and its bytes."""
    key = secrets.token_bytes(KEY_BYTES)
    return f"{id_of(key)} {base64.b64encode(key).decode()}"


def is_key(line: str) -> bool:
    """Whether a line of the file holds a key."""
    return bool(line.strip()) and not line.startswith("#")


def parse_key(line: str) -> tuple[str, AESGCM]:
    """A key and its id. Raises ConfigError, without quoting it, for a line that is none."""
    key_id, _, encoded = line.partition(" ")
    try:
        key = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError("the key file holds a line that is no key") from error
    if len(key) != KEY_BYTES or key_id != id_of(key):
        raise ConfigError("the key file holds a line that is no key")
    return key_id, AESGCM(key)


def id_of(key: bytes) -> str:
    """The name of a key, which tells nothing of it."""
    return hashlib.sha256(b"roughneck seal key " + key).hexdigest()[:16]
