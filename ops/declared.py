"""Schedules that stand in the settings, as tables `[schedules.<name>]`."""

import msgspec

from gateway.schedules import NAME
from gateway.scheduling import timing_of
from gateway.wire_schedules import DeclaredSchedule
from ops.settings import Settings
from streams.errors import ConfigError, InvalidInput
from streams.schedule import check


def declared_schedules(settings: Settings) -> dict[str, DeclaredSchedule]:
    """The declared schedules by name. Raises ConfigError naming the bad field."""
    found = {}
    for name, table in settings.schedules.items():
        try:
            if not NAME.fullmatch(name):
                raise InvalidInput(f"a name fits {NAME.pattern}")
            raw = msgspec.json.encode(table)
            found[name] = msgspec.json.decode(raw, type=DeclaredSchedule, strict=False)
            check(timing_of(found[name]), 0)
        except msgspec.ValidationError as error:
            said = str(error).replace("`$", f"`$.schedules.{name}")
            where = "" if "`$" in said else f" - at `$.schedules.{name}`"
            raise ConfigError(f"settings: {said}{where}") from error
        except InvalidInput as error:
            where = f"$.schedules.{name}{error.path.removeprefix('$')}"
            raise ConfigError(f"settings: {error} - at `{where}`") from error
    return found
