"""Settings: defaults in each folder's struct, then `roughneck.toml`, then the environment.

The only module that reads any of them. `ROUGHNECK_GATEWAY__PORT=9000` sets `port` of `[gateway]`;
a list is split on commas; a secret may stand in a file, `ROUGHNECK_CLIENT__KEY_FILE=/run/key`.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import inspect as shapes

from gateway.delivery import CourierSettings
from gateway.sealing import SealSettings
from gateway.settings import GatewaySettings
from processors.dependencies.guard import GuardSettings
from processors.dependencies.http import HttpSettings
from processors.dependencies.ollama_settings import OllamaSettings
from processors.sdk.settings import ProcessorSettings
from streams.errors import ConfigError
from streams.model import ResourceClass
from streams.settings import EngineSettings

VERSION = installed_version("roughneck")
PREFIX = "ROUGHNECK_"
NOT_SETTINGS = frozenset({"SETTINGS", "EMBEDDED", "TEST_REDIS"})  # this file, make, the tests
DEFAULT_FILE = Path("roughneck.toml")

Secret = Annotated[str, msgspec.Meta(extra={"secret": True})]
SecretUrl = Annotated[str, msgspec.Meta(extra={"secret_url": True})]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Slots = Annotated[int, msgspec.Meta(ge=0, le=1_000)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which Redis is used. Without a URL `roughneck up` starts its own in `folder`."""

    url: SecretUrl = ""  # redis://[user:password@]host:port/db, rediss:// or unix://path
    folder: str = "~/.roughneck/redis"  # of the embedded server
    memory_max_mb: Positive = 1_024  # of the embedded server
    connect_timeout_s: Seconds = 2.0
    command_timeout_s: Seconds = 5.0  # the longest wait for an answer
    connections_max: Positive = 64  # of one process, for commands


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one worker takes."""

    name: str = ""  # in front of the worker's id; empty: the host's name
    classes: tuple[ResourceClass, ...] = ()  # empty: io, cpu, and ollama where one answers
    io_slots: Slots = 10
    cpu_slots: Slots = 4
    ollama_slots: Slots = 1
    agents: bool = True  # whether agents watch the events of jobs in this worker
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0  # 0: no metrics endpoint
    metrics_host: str = "127.0.0.1"  # where it listens; the VPN's address, never a public one
    journal_folder: str = "~/.roughneck/verdicts"  # of this machine's workers


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How is logged: to standard error, or to a file that something else rotates."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"  # auto: text on a terminal, else JSON
    file: str = ""  # opened anew when it was renamed; empty: standard error


class ClientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the commands that go over HTTP reach a gateway."""

    gateway: str = ""  # http://127.0.0.1:8470
    key: Secret = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set, by section."""

    redis: RedisSettings = RedisSettings()
    engine: EngineSettings = EngineSettings()
    gateway: GatewaySettings = GatewaySettings()
    courier: CourierSettings = CourierSettings()
    secrets: SealSettings = SealSettings()
    network: GuardSettings = GuardSettings()
    processors: ProcessorSettings = ProcessorSettings()
    http: HttpSettings = HttpSettings()
    ollama: OllamaSettings = OllamaSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()
    client: ClientSettings = ClientSettings()
    schedules: dict[str, dict[str, Any]] = {}  # by name: see `ops.declared`


class Row(msgspec.Struct, frozen=True):
    """One setting as it is shown: secrets hidden."""

    name: str  # section.field
    value: str
    default: str


def load(
    path: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    given: Mapping[str, object] | None = None,
) -> Settings:
    """Read settings once, at start. Raises ConfigError naming the bad field.

    Without `path` the file named by ROUGHNECK_SETTINGS is read, or ./roughneck.toml if there is
    one. `given` holds what stood on the command line, by `section.field`; it goes before all else.
    """
    tree = _file_tree(path, environ)
    for name, text in sorted(environ.items()):
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in NOT_SETTINGS:
            section, *rest = name.removeprefix(PREFIX).lower().split("__")
            if not rest:
                raise ConfigError(f"{name} names no setting; it would be {PREFIX}SECTION__FIELD")
            _put(tree, [section, *rest], text)
    for dotted, value in (given or {}).items():
        _put(tree, dotted.split("."), value)
    _merge_tables(tree)
    _read_secret_files(tree)
    _split_lists(tree)
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"settings: {error}") from error
    _check(settings)
    return settings


def rows(settings: Settings) -> list[Row]:
    """Every setting with its value and default, in the order of the structs."""
    defaults = Settings()
    declared = [
        Row(f"schedules.{name}.{field}", str(value), "")
        for name, table in settings.schedules.items()
        for field, value in table.items()
        if field != "job"  # a payload may hold what is not for everybody
    ]
    return declared + [
        Row(
            f"{section}.{field.name}",
            shown(field, getattr(getattr(settings, section), field.name)),
            shown(field, getattr(getattr(defaults, section), field.name)),
        )
        for section, field in fields()
    ]


def secrets_of(settings: Settings) -> list[str]:
    """The values that nobody may read: secrets, and the passwords of URLs."""
    found = []
    for section, field in fields():
        value, marks = getattr(getattr(settings, section), field.name), _marks(field)
        if marks.get("secret"):
            found.append(str(value))
        elif marks.get("secret_url"):
            password = urlsplit(str(value)).password or ""
            found += [password, unquote(password)]
    return [secret for secret in found if secret]


def fields() -> Iterator[tuple[str, shapes.Field]]:
    """Every setting: its section and msgspec's description of the field; no declared schedules."""
    for section in _struct(Settings).fields:
        if isinstance(section.type, shapes.StructType):
            for field in section.type.fields:
                yield section.name, field


def shown(field: shapes.Field, value: object) -> str:
    """A value as text that may be read by anyone."""
    marks = _marks(field)
    if marks.get("secret") and value:
        return "(hidden)"
    if marks.get("secret_url"):
        return hide_password(str(value))
    if isinstance(value, Mapping):
        return msgspec.json.encode(value).decode()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def hide_password(url: str) -> str:
    """A URL without the password that stands in it."""
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    if not at:
        return url
    name, colon, _ = user.partition(":")
    return f"{scheme}{separator}{name}{colon and ':(hidden)'}@{host}"


def child_environment(given: Mapping[str, object]) -> dict[str, str]:
    """This process's environment with settings of the command line added, for a child process."""
    added = {
        PREFIX + dotted.upper().replace(".", "__"): ",".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
        for dotted, value in given.items()
    }
    return {**os.environ, **added}


def _file_tree(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    named = path or (Path(chosen) if (chosen := environ.get(f"{PREFIX}SETTINGS")) else None)
    chosen_path = named or DEFAULT_FILE
    try:
        return tomllib.loads(chosen_path.read_text("utf-8"))
    except FileNotFoundError as error:
        if named:
            raise ConfigError(f"no settings file {named}") from error
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{chosen_path}: {error}") from error


def _put(tree: dict[str, Any], path: Sequence[str], value: object) -> None:
    table = tree
    for depth, name in enumerate(path[:-1], 1):
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            where = ".".join(path[:depth])
            raise ConfigError(f"settings: a value, where a section is needed - at `$.{where}`")
    table[path[-1]] = value


def _merge_tables(tree: dict[str, Any]) -> None:
    """A table of named things (model aliases) adds to the default one instead of replacing it."""
    for section, field in fields():
        table = tree.get(section)
        if isinstance(field.type, shapes.DictType) and isinstance(table, dict):
            default = msgspec.to_builtins(getattr(getattr(Settings(), section), field.name))
            if isinstance(table.get(field.name), dict):
                table[field.name] = _merged(default, table[field.name])


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **under,
        **{
            name: _merged(under[name], value)
            if isinstance(value, dict) and isinstance(under.get(name), dict)
            else value
            for name, value in over.items()
        },
    }


def _read_secret_files(tree: dict[str, Any]) -> None:
    for section, field in fields():
        table = tree.get(section)
        if not _marks(field) or not isinstance(table, dict):
            continue
        path = table.pop(f"{field.name}_file", None)
        if path is None:
            continue
        where = f"$.{section}.{field.name}_file"
        if field.name in table:
            raise ConfigError(f"settings: both a value and a file are given - at `{where}`")
        try:
            table[field.name] = Path(str(path)).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"settings: {error} - at `{where}`") from error


def _split_lists(tree: dict[str, Any]) -> None:
    for section, field in fields():
        table = tree.get(section)
        listed = isinstance(field.type, shapes.VarTupleType | shapes.ListType)
        if listed and isinstance(table, dict) and isinstance(table.get(field.name), str):
            parts = table[field.name].split(",")
            table[field.name] = [part.strip() for part in parts if part.strip()]


def _check(settings: Settings) -> None:
    """What no single field can say of itself."""
    engine = settings.engine
    if engine.renew_ms * 2 > engine.lease_ms:
        raise ConfigError(
            "settings: a lease must last at least two renewals - at `$.engine.renew_ms`"
        )


def _marks(field: shapes.Field) -> dict[str, Any]:
    kind = field.type
    return (kind.extra or {}) if isinstance(kind, shapes.Metadata) else {}


def _struct(kind: type) -> shapes.StructType:
    described = shapes.type_info(kind)
    assert isinstance(described, shapes.StructType)
    return described
