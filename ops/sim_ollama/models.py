"""What the simulator can be told, and the models it pretends to have."""

import hashlib

import msgspec

GB = 1_000_000_000
GENERATES = ("completion", "tools")


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One pulled model: how large it is, and how fast."""

    size_bytes: int
    family: str
    parameters: str  # as /api/tags shows them: "8.0B"
    quantization: str = "Q4_K_M"
    capabilities: tuple[str, ...] = GENERATES
    load_s: float = 8.0
    tokens_per_s: float = 30.0
    prompt_tokens_per_s: float = 400.0

    def details(self) -> dict[str, object]:
        """The `details` object of /api/tags, /api/ps and /api/show."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameters,
            "quantization_level": self.quantization,
        }


def default_models() -> dict[str, ModelSpec]:
    """Four models such as a Mac of 32 GB would hold, and one for embeddings."""
    return {
        "qwen3:32b": ModelSpec(20 * GB, "qwen3", "32.8B", load_s=40, tokens_per_s=11),
        "gemma3:27b": ModelSpec(17 * GB, "gemma3", "27.4B", load_s=28, tokens_per_s=13),
        "qwen2.5:14b": ModelSpec(9 * GB, "qwen2", "14.8B", load_s=15, tokens_per_s=24),
        "llama3.1:8b": ModelSpec(5 * GB, "llama", "8.0B", load_s=8, tokens_per_s=42),
        "nomic-embed-text:latest": ModelSpec(
            GB // 4, "nomic-bert", "137M", "F16", ("embedding",), load_s=1
        ),
    }


class SimConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The simulated machine and server. Every time is of the simulated machine, see `speed`."""

    models: dict[str, ModelSpec] = msgspec.field(default_factory=default_models)
    speed: float = 1.0  # every wait is divided by this; reported durations are not
    seed: int = 0
    version: str = "0.33.0"
    memory_bytes: int = 24 * GB
    max_loaded: int = 1  # OLLAMA_MAX_LOADED_MODELS
    max_queue: int = 512  # OLLAMA_MAX_QUEUE
    num_parallel: int = 1  # OLLAMA_NUM_PARALLEL
    keep_alive_s: float = 300.0  # OLLAMA_KEEP_ALIVE, negative for ever
    num_ctx: int = 4096  # where a request names none
    bytes_per_token: int = 4  # of prompts
    unload_s: float = 0.5
    load_spread: float = 0.15  # standard deviation of a load's duration, as a share of it
    resurrect: bool = True  # a model used again while it is being evicted stays (ollama#17408)
    fixtures: dict[str, str] = msgspec.field(default_factory=dict)  # `fixture_key` → whole answer
    answers: tuple[str, ...] = ()  # said first, one a question, before anything is made up


def full_name(name: str) -> str:
    """The name with its tag: `llama3.1` is `llama3.1:latest`."""
    return name if not name or ":" in name.rpartition("/")[2] else f"{name}:latest"


def digest(name: str) -> str:
    """A stable made-up manifest digest."""
    return hashlib.sha256(name.encode()).hexdigest()
