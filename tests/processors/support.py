"""What the tests of processors share: the fixture processors, and a host that runs them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

from processors.builtin.echo import echo
from processors.dependencies.cache import CacheProvider
from processors.dependencies.log import LogProvider
from processors.sdk.declaration import Processor, declared, load_file, processors_of
from processors.sdk.host import Host
from processors.sdk.registry import Registry
from processors.sdk.settings import ProcessorSettings
from processors.sdk.testing import FakeAttempt, fake_attempt

FIXTURES = Path(__file__).parent / "fixtures"


def processor_of(function: object) -> Processor:
    found = declared(function)
    assert found is not None
    return found


def fixture_module(name: str) -> ModuleType:
    return load_file(FIXTURES / f"{name}.py")


def fixture_registry() -> Registry:
    """The fixture processors and echo."""
    found = [processor_of(echo)]
    for file in sorted(FIXTURES.glob("*.py")):
        found.extend(processors_of(load_file(file)))
    return Registry(found)


def fixture_attempt(name: str, payload: object, **known: float) -> FakeAttempt:
    found = fixture_registry().get(name)
    assert found is not None
    return fake_attempt(found, payload, **known)  # type: ignore[arg-type]


@asynccontextmanager
async def running_host(settings: ProcessorSettings | None = None) -> AsyncIterator[Host]:
    host = Host(fixture_registry(), [LogProvider(), CacheProvider()], settings)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
    else:
        return stat.rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
