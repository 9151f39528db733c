"""Gives processors the dependencies that their manifests name, and proves at boot that it can."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from processors.dependencies import Attempt, Provider
from processors.sdk.declaration import Processor
from processors.sdk.manifest import Manifest
from streams.errors import ConfigError
from streams.model import ResourceClass

IN_A_CHILD = frozenset({"log", "cache"})  # what can exist in a child process

log = logging.getLogger(__name__)


class Injector:
    """The providers of one worker."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        """Raises ConfigError when two providers have one name."""
        self._providers: dict[str, Provider] = {}
        self._opened: list[Provider] = []
        for provider in providers:
            if provider.name in self._providers:
                raise ConfigError(f"two dependencies are named {provider.name!r}")
            self._providers[provider.name] = provider

    async def open(self, processors: Sequence[Processor], check_s: float) -> None:
        """Open and check every provider that one of `processors` declares.

        Raises ConfigError naming processor and dependency when one is unknown, not for the
        processor's class, or not reachable within `check_s`; what was opened is closed again.
        """
        for processor in processors:
            check_declared(processor.manifest, self._providers)
        try:
            for name, provider in self._providers.items():
                users = [one.name for one in processors if name in one.manifest.dependencies]
                if users:
                    await self._open_one(provider, users, check_s)
        except BaseException:
            await self.close()
            raise

    async def _open_one(self, provider: Provider, users: Sequence[str], check_s: float) -> None:
        self._opened.append(provider)
        try:
            async with asyncio.timeout(check_s):
                await provider.open()
                await provider.check()
        except Exception as error:
            plural = "processors" if len(users) > 1 else "processor"
            names = ", ".join(repr(user) for user in users)
            why = f"no answer in {check_s:g} s" if isinstance(error, TimeoutError) else error
            raise ConfigError(
                f"{plural} {names}: the dependency {provider.name!r} is not reachable: {why}"
            ) from error

    def values(self, manifest: Manifest, attempt: Attempt) -> dict[str, object]:
        """What one attempt is given."""
        return inject(manifest, self._providers, attempt)

    async def close(self) -> None:
        """Close what was opened, the last first; one that fails does not keep the others open."""
        while self._opened:
            provider = self._opened.pop()
            try:
                await provider.close()
            except Exception:
                log.exception("a dependency did not close", extra={"dependency": provider.name})


def check_declared(manifest: Manifest, providers: Mapping[str, Provider]) -> None:
    """Raise ConfigError when `manifest` names a dependency that it cannot have."""
    for name in manifest.dependencies:
        if name not in providers:
            known = ", ".join(sorted(providers)) or "none"
            raise ConfigError(
                f"processor {manifest.name!r}: unknown dependency {name!r} (known: {known})"
            )
        classes = providers[name].classes
        if manifest.resource_class is ResourceClass.CPU and name not in IN_A_CHILD:
            classes -= {ResourceClass.CPU}
        if manifest.resource_class not in classes:
            allowed = ", ".join(sorted(classes))
            raise ConfigError(
                f"processor {manifest.name!r}: the dependency {name!r} is for class {allowed} "
                f"only, not for class {manifest.resource_class}"
            )


def inject(
    manifest: Manifest, providers: Mapping[str, Provider], attempt: Attempt
) -> dict[str, object]:
    """The values of the dependencies that `manifest` names, for this attempt."""
    return {name: providers[name].inject(attempt) for name in manifest.dependencies}
