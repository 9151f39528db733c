"""The demo's Ollama: a real one where one answers with a model that works, else the simulator."""

from typing import Any

import httpx
import msgspec

URL = "http://127.0.0.1:11434"
LOOK_S = 2.0
TRY_S = 60.0  # a model may have to be loaded first
CONTEXT = 8_192
EMBEDS = ("bert", "embed")


class RealOllama(msgspec.Struct, frozen=True):
    """One that answers, with the model to use."""

    url: str
    version: str
    model: str


async def find_real(url: str = URL) -> RealOllama | None:
    """The Ollama at `url` with its smallest model that answers, or None."""
    async with httpx.AsyncClient(base_url=url, timeout=LOOK_S, trust_env=False) as client:
        try:
            if (await client.get("/_sim/state")).is_success:
                return None  # somebody's simulator
            version = (await client.get("/api/version")).raise_for_status().json()["version"]
            listed = (await client.get("/api/tags")).raise_for_status().json()["models"]
            for name in candidates(listed):
                if await _answers(client, name):
                    return RealOllama(url, str(version), name)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return None
    return None


def candidates(listed: list[dict[str, Any]]) -> list[str]:
    """Names of local models that generate text, the smallest first."""
    local = [one for one in listed if not one.get("remote_host") and one.get("size")]
    return [
        str(one["name"])
        for one in sorted(local, key=lambda one: int(one["size"]))
        if not any(mark in f"{one['name']} {one.get('details')}".lower() for mark in EMBEDS)
    ]


async def _answers(client: httpx.AsyncClient, model: str) -> bool:
    """Whether it says a word; loads it with the options that the demo will use."""
    options = {"num_ctx": CONTEXT, "num_predict": 1}
    asked = {"model": model, "prompt": "Hej", "stream": False, "options": options}
    try:
        answer = await client.post("/api/generate", json=asked, timeout=TRY_S)
    except httpx.HTTPError:
        return False
    return answer.is_success
