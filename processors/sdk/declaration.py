"""A processor's declaration in code: the decorator, and what it learns from the function."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

import msgspec

from processors.sdk.manifest import Manifest
from streams.errors import ConfigError, InvalidInput, Rejected, TooLarge
from streams.model import ResourceClass

MARK = "__roughneck_processor__"
LOOSE_PREFIX = "roughneck_loose_"  # modules loaded from a folder, by file

F = TypeVar("F", bound=Callable[..., object])


class InvalidResult(Rejected):
    """The processor returned what its own result type forbids: a fault of its code."""

    code = "invalid_result"


class Origin(msgspec.Struct, frozen=True):
    """Where a processor's code is, so that another process can load just that module."""

    module: str
    file: str


@dataclass(frozen=True)
class Processor:
    """A function with its manifest and its types."""

    manifest: Manifest
    function: Callable[..., object]
    input_type: type[msgspec.Struct]
    output_type: object
    origin: Origin
    takes_context: bool

    @property
    def name(self) -> str:
        """The manifest's name."""
        return self.manifest.name

    @property
    def resource_class(self) -> ResourceClass:
        """The manifest's resource class."""
        return self.manifest.resource_class

    @cached_property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def input_schema(self) -> bytes:
        """JSON Schema of the input."""
        return self._schema(self.input_type, "input")

    @cached_property
    def output_schema(self) -> bytes:
        """JSON Schema of the result."""
        return self._schema(self.output_type, "result")

    def decode(self, payload: bytes) -> object:
        """The input that `payload` holds. Raises InvalidInput with the path of the bad field."""
        try:
            return self._input_decoder.decode(payload)
        except (ValueError, RecursionError) as error:  # bad UTF-8 is no msgspec.DecodeError
            path = str(error).partition(" - at `")[2].rstrip("`")
            raise InvalidInput(str(error), path or "$") from error

    def encode(self, value: object, max_bytes: int) -> bytes:
        """`value` as JSON, proved to be of the declared result type.

        Raises InvalidResult, which names the path, and TooLarge over `max_bytes`.
        """
        try:
            result = msgspec.json.encode(value)
            self._output_decoder.decode(result)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidResult(
                f"processor {self.name!r} returned what its result type forbids: {error}"
            ) from error
        if len(result) > max_bytes:
            raise TooLarge(
                f"the result of processor {self.name!r} has {len(result)} bytes, "
                f"the limit is {max_bytes}"
            )
        return result

    def call(self, given: object, context: object) -> object:
        """What the function returns: the result, or a coroutine of it."""
        return self.function(given, context) if self.takes_context else self.function(given)

    @cached_property
    def _input_decoder(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.input_type)

    @cached_property
    def _output_decoder(self) -> msgspec.json.Decoder[Any]:
        return msgspec.json.Decoder(self.output_type)

    def _schema(self, of_type: object, what: str) -> bytes:
        try:
            return msgspec.json.encode(msgspec.json.schema(of_type))
        except (TypeError, NameError) as error:
            raise ConfigError(
                f"processor {self.name!r} in {self.origin.file}: "
                f"its {what} type has no JSON Schema: {error}"
            ) from error


def processor(manifest: Manifest) -> Callable[[F], F]:
    """Declare the decorated function a processor; the function itself stays as it is.

    The first parameter's annotation is the input, a msgspec Struct; the return annotation is the
    result; a second parameter gets the Context. Raises ConfigError when one of these is missing.
    """

    def declare(function: F) -> F:
        setattr(function, MARK, _examine(manifest, function))
        return function

    return declare


def declared(function: object) -> Processor | None:
    """The processor that `function` was declared to be, or None."""
    found = getattr(function, MARK, None) if callable(function) else None
    return found if isinstance(found, Processor) else None


def processors_of(module: ModuleType) -> list[Processor]:
    """The processors that `module` or a part of it declares; imported foreign ones are not its."""
    found = {
        one.name: one
        for value in vars(module).values()
        if (one := declared(value)) is not None
        and (one.origin.module + ".").startswith(module.__name__ + ".")
    }
    return list(found.values())


def load_module(origin: Origin) -> ModuleType:
    """The module of `origin`, imported by name, or by file when it was found loose in a folder."""
    if not origin.module.startswith(LOOSE_PREFIX):
        return importlib.import_module(origin.module)
    top, dot, _ = origin.module.partition(".")
    if not dot:
        return load_file(Path(origin.file))
    package = next(folder for folder in Path(origin.file).parents if loose_name(folder) == top)
    load_file(package / "__init__.py")
    return importlib.import_module(origin.module)


def load_file(file: Path) -> ModuleType:
    """The module in `file`, or the package when it is an `__init__.py`; loaded once."""
    is_package = file.name == "__init__.py"
    name = loose_name(file.parent if is_package else file)
    if name in sys.modules:
        return sys.modules[name]
    folders = [str(file.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=folders)
    assert spec is not None  # a path to a .py file has both
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def loose_name(path: Path) -> str:
    """The module name of a file or package in a folder: the same in every process."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return f"{LOOSE_PREFIX}{digest}_{path.stem}"


def _examine(manifest: Manifest, function: Callable[..., object]) -> Processor:
    plain = inspect.unwrap(function)
    file = plain.__code__.co_filename if inspect.isfunction(plain) else repr(function)

    def wrong(message: str) -> ConfigError:
        return ConfigError(f"processor {manifest.name!r} in {file}: {message}")

    if not inspect.isfunction(function):
        raise wrong("it must be a function")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise wrong("it must return its result, not yield")
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) not in (1, 2) or any(p.kind in _NAMED_ONLY for p in parameters):
        raise wrong("it must take its input, and a Context if it wants one")
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError) as error:
        raise wrong(f"an annotation cannot be resolved: {error}") from error
    input_type = hints.get(parameters[0].name)
    if not (isinstance(input_type, type) and issubclass(input_type, msgspec.Struct)):
        raise wrong(f"the annotation of {parameters[0].name!r} must be a msgspec Struct")
    if "return" not in hints:
        raise wrong("its return annotation, the type of the result, is missing")
    origin = Origin(function.__module__, file)
    takes_context = len(parameters) == 2
    return Processor(manifest, function, input_type, hints["return"], origin, takes_context)


_NAMED_ONLY = frozenset(
    {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    }
)
