"""The Ollama of a rehearsal: that of the settings where it answers, else a simulator."""

import tempfile
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

import httpx
import msgspec

from ops.demo.ollama import CONTEXT, find_real
from ops.sim_ollama import SimConfig, SimServer
from ops.sim_ollama.models import ModelSpec, default_models
from processors.dependencies.ollama import ModelAlias, OllamaProvider, OllamaSettings
from processors.dependencies.ollama_errors import HostAway
from processors.dependencies.ollama_host import full_tag

SPEED = 200.0  # of the simulated machine: a load of 40 s takes 0.2 s
LOOK_S = 2.0


class ModelHost(msgspec.Struct, frozen=True):
    """Which Ollama is used, and how to say so."""

    settings: OllamaSettings
    said: str


@asynccontextmanager
async def model_host(
    settings: OllamaSettings,
    aliases: Collection[str],
    answers: Iterable[str] = (),
    *,
    simulated: bool = False,
) -> AsyncIterator[ModelHost]:
    """An Ollama that has a model for each alias, for as long as the block runs."""
    found = None if simulated else await answering(settings, aliases)
    if found is not None:
        yield found
        return
    models = default_models()
    for alias in settings.models.values():
        models.setdefault(full_tag(alias.tag), ModelSpec(5_000_000_000, "llama", "8.0B"))
    config = SimConfig(models=models, speed=SPEED, answers=tuple(answers))
    with tempfile.TemporaryDirectory() as folder, SimServer(config=config).in_thread() as url:
        own = msgspec.structs.replace(
            settings, url=url, host="", exclusive=False, runtime_dir=folder
        )
        words = "it says the sample's answers" if config.answers else "its words mean nothing"
        yield ModelHost(own, f"the simulator, started for this run: {words}")


async def answering(settings: OllamaSettings, aliases: Collection[str]) -> ModelHost | None:
    """The Ollama of the settings; with its smallest model where those of the aliases lack."""
    provider = OllamaProvider(settings)
    await provider.open()
    try:
        version, pulled = await provider.version(), await provider.models()
    except HostAway:
        return None
    finally:
        await provider.close()
    if set(aliases) <= set(pulled):
        what = "a simulator" if await is_simulator(settings.url) else f"Ollama {version}"
        return ModelHost(settings, f"{what} at {settings.url}")
    real = await find_real(settings.url)
    if real is None:
        return None
    alias = ModelAlias(real.model, num_ctx=CONTEXT)
    own = msgspec.structs.replace(settings, models=dict.fromkeys(settings.models, alias))
    missing = ", ".join(settings.models[name].tag for name in aliases if name not in pulled)
    return ModelHost(
        own, f"Ollama {version} at {settings.url} with {real.model}, for want of {missing}"
    )


async def is_simulator(url: str) -> bool:
    """Whether a simulator that somebody runs answers there."""
    async with httpx.AsyncClient(base_url=url, timeout=LOOK_S, trust_env=False) as client:
        try:
            return (await client.get("/_sim/state")).is_success
        except httpx.HTTPError:
            return False
