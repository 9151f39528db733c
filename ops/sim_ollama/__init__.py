"""A protocol-faithful Ollama for tests, demonstrations and machines without a GPU.

It speaks the routes, errors, timing and scheduling of Ollama 0.33, invents deterministic text,
and misbehaves on request (`POST /_sim/faults`). `serve` runs it; `build` gives the ASGI app.
"""

from ops.sim_ollama.app import build
from ops.sim_ollama.models import ModelSpec, SimConfig
from ops.sim_ollama.server import SimServer, serve
from ops.sim_ollama.text import fixture_key

__all__ = ["ModelSpec", "SimConfig", "SimServer", "build", "fixture_key", "serve"]
