"""A processor of another model, so that the pictures show how an Ollama host goes between two."""

import msgspec

from processors.sdk import Ask, Context, Manifest, ResourceClass, processor


class Note(msgspec.Struct, frozen=True):
    """A note."""

    text: str


@processor(
    Manifest(
        name="note-kind",
        version="1.0.0",
        summary="Say of what kind a note is.",
        resource_class=ResourceClass.OLLAMA,
        dependencies=("ollama",),
        model="classify",
    )
)
async def note_kind(given: Note, context: Context) -> dict[str, str]:
    """Ask, and answer with one word."""
    async with context.ollama.stream(Ask.of(given.text, "One word.", max_tokens=40)) as answering:
        async for _ in answering:
            pass
        return {"kind": answering.answer.text}
