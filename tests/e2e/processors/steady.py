"""Asks a model what it has asked before: its results are kept."""

import msgspec

from processors.sdk import Ask, Context, Manifest, Ollama, ResourceClass, processor


class Input(msgspec.Struct):
    """The question."""

    prompt: str


@processor(
    Manifest(
        name="steady",
        version="1",
        summary="Ask a model.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="classify",
        cache_s=60,
    )
)
async def steady(given: Input, context: Context) -> str:
    """The answer."""
    answer = await context.need("ollama", Ollama).ask(Ask.of(given.prompt, max_tokens=8))
    return answer.text
