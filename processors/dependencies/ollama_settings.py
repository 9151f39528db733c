"""What the dependency `ollama` can be told, and who the host is."""

import hashlib
import ipaddress
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streams.errors import ConfigError

DEFAULT_PORT = 11_434
HOST_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


class ModelAlias(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an alias stands for; tag, context and load options decide when Ollama loads it anew."""

    tag: str
    num_ctx: int = 8_192  # always set: Ollama's own default depends on the machine
    load_options: Mapping[str, int | bool] = {}  # num_gpu, num_batch, use_mmap, …
    silent_json: bool = True  # no thoughts before JSON; False for models that then ignore `format`

    @property
    def options(self) -> dict[str, int | bool]:
        """The load-time options, to be sent with every request."""
        return {**self.load_options, "num_ctx": self.num_ctx}


def default_models() -> dict[str, ModelAlias]:
    """The aliases of the built-in processors."""
    return {
        "gen": ModelAlias("qwen3:32b"),
        "translate": ModelAlias("gemma3:27b"),
        "extract": ModelAlias("qwen2.5:14b", num_ctx=16_384),
        "classify": ModelAlias("llama3.1:8b"),
    }


class OllamaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Ollama, on the worker's own machine."""

    url: str = f"http://127.0.0.1:{DEFAULT_PORT}"
    host: str = ""  # its name in the pool `ollama@<host>`; empty: machine id and port
    exclusive: bool = False  # a URL off the loopback that no other machine's worker uses
    runtime_dir: str = "/tmp/roughneck"  # lock files; the same for all workers of the machine
    models: dict[str, ModelAlias] = msgspec.field(default_factory=default_models)
    keep_alive: str = "30m"  # not -1: a stuck eviction then heals by the timer
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0  # version, tags, ps
    load_timeout_s: float = 330.0  # over Ollama's own OLLAMA_LOAD_TIMEOUT of 5 min
    probe_timeout_s: float = 120.0  # one token, which may need a load
    first_token_timeout_s: float = 30.0  # and the time to read the prompt
    prompt_tokens_per_s: float = 40.0  # the slowest reading to be expected
    idle_timeout_s: float = 60.0  # between two pieces of an answer
    restart_command: tuple[str, ...] = ()  # restarts an Ollama that hangs; a word each
    restart_pause_s: float = 300.0  # from one restart to the next


def host_identity(settings: OllamaSettings) -> str:
    """The host's name: as configured, else made of this machine's id and the port.

    Raises ConfigError for a URL that is none, one off the loopback that is not declared
    exclusive, and a name that no pool may have.
    """
    port = _port(settings)
    if not settings.host:
        return f"{_machine_id()}-{port}"
    if not HOST_NAME.fullmatch(settings.host):
        raise ConfigError(f"ollama.host: must match {HOST_NAME.pattern}, not {settings.host!r}")
    return settings.host


def _port(settings: OllamaSettings) -> int:
    try:
        parts = urlsplit(settings.url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise ConfigError(f"ollama.url: {error}: {settings.url!r}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"ollama.url: must be an http URL, not {settings.url!r}")
    if _is_loopback(parts.hostname):
        return port
    if not settings.exclusive:
        raise ConfigError(
            f"ollama.url: {settings.url!r} is not on this machine; two machines may not share an "
            "Ollama, so set ollama.exclusive when no other worker uses it"
        )
    if not settings.host:
        raise ConfigError(f"ollama.host: {settings.url!r} is not on this machine and needs a name")
    return port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _machine_id() -> str:
    """Twelve hex digits that stay the same for this machine and do not give its id away."""
    for path in MACHINE_ID_FILES:
        try:
            found = path.read_text("ascii").strip()
        except OSError:
            continue
        if found:
            break
    else:
        found = f"{uuid.getnode():012x}"
    return hashlib.sha256(f"roughneck {found}".encode()).hexdigest()[:12]
