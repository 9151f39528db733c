"""What can go wrong with Ollama, in the words of the platform's error tree.

Rejected
├── ModelMissing   not pulled, or an alias that the settings lack
├── AskRefused     Ollama says the request itself is wrong
└── PromptTooLong  it would be truncated silently
Retry
├── HostAway       the host does not work now: uses up no attempt
│   ├── HostStalled   it took the request and went quiet
│   ├── HostBroke     it took the request and failed
│   └── LoadFailed    it could not bring the model up
│       └── LoadRefused   and said so: other models are not concerned
├── ModelBroke     the runner died over this request while the host is well: uses an attempt
└── Degenerate     the answer is no answer: another seed may help
"""

import json

import httpx
import ollama
import pydantic

from processors.dependencies.asking import Degenerate
from streams.errors import Rejected, Retry

__all__ = ["Degenerate"]

TEXT_MAX = 500
PERMANENT = frozenset({400, 403, 404, 405, 413, 422})
AWAY_FIRST_S = 5.0


class ModelMissing(Rejected):
    """The host does not have the model, or the settings do not have the alias."""

    code = "model_missing"


class AskRefused(Rejected):
    """Ollama refused the request for what it is: no retry will change that."""

    code = "ollama_refused"


class PromptTooLong(Rejected):
    """The prompt would not fit the model's context beside the answer."""

    code = "prompt_too_long"


class HostAway(Retry):
    """The host cannot work now. The job keeps its attempts: it is not to blame."""

    code = "ollama_away"

    def __init__(
        self, message: str, *, after_s: float = AWAY_FIRST_S, uses_attempt: bool = False
    ) -> None:
        """Comes back after `after_s`."""
        super().__init__(message, after_s=after_s, uses_attempt=uses_attempt)


class HostStalled(HostAway):
    """The host took the request and then sent nothing for too long."""

    code = "ollama_stalled"


class HostBroke(HostAway):
    """The host took the request and then failed or hung up."""

    code = "ollama_broke_off"


class LoadFailed(HostAway):
    """The model did not come up within its time, or its process died while it was loading."""

    code = "ollama_load_failed"


class LoadRefused(LoadFailed):
    """Ollama answered that it cannot bring this model up: it is well, and so may others be."""

    code = "ollama_load_refused"


class ModelBroke(Retry):
    """The runner failed over this request although the host answers others."""

    code = "ollama_broke"


def translate(error: Exception, model: str, *, loading: bool = False) -> Rejected | Retry:
    """The error of ours for anything that the Python client raises (0.6, over httpx 0.28)."""
    match error:
        case ollama.ResponseError():
            return _of_response(error, model, loading=loading)
        case (
            ConnectionError() | httpx.ConnectError()
        ):  # wrapped by the client, or not when streaming
            return HostAway(f"Ollama refuses connections: {_text(error)}")
        case httpx.ConnectTimeout() | httpx.PoolTimeout():
            return HostAway(f"no connection to Ollama: {type(error).__name__}")
        case TimeoutError() | httpx.TimeoutException():
            if loading:
                return LoadFailed(f"{model} was not loaded in time")
            return HostStalled(f"{model} went quiet: {_text(error)}")
        case httpx.TransportError():
            return HostBroke(f"the connection to Ollama broke: {_text(error)}")
        case json.JSONDecodeError() | pydantic.ValidationError() | UnicodeDecodeError():
            return Degenerate(f"{model} answered with a line that is no JSON of Ollama's")
        case AttributeError():  # the client's own slip over an error body that is a JSON list
            return HostAway(f"something that is not Ollama answered: {_text(error)}")
        case ollama.RequestError() | ValueError() | TypeError():
            return AskRefused(f"the request cannot be put to Ollama: {_text(error)}")
        case _:
            return HostAway(f"unforeseen: {type(error).__name__}: {_text(error)}")


def _of_response(error: ollama.ResponseError, model: str, *, loading: bool) -> Rejected | Retry:
    text = _text(error)
    if error.status_code == 404:
        return ModelMissing(f"{model}: {text}")
    if error.status_code in PERMANENT:
        return AskRefused(f"{model}: {text}")
    if error.status_code == 503:
        return HostAway(f"somebody else uses this Ollama too: {text}")
    if loading:
        return LoadRefused(f"{model}: {text}")
    return HostBroke(f"{model}: {text}")


def _text(error: Exception) -> str:
    said = error.error if isinstance(error, ollama.ResponseError) else str(error)
    return str(said)[:TEXT_MAX] or type(error).__name__
