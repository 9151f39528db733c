"""Fetches a page and speaks on the way, as a processor and as a library would."""

import logging

import msgspec

from processors.sdk import Context, Manifest, ResourceClass, processor


class Input(msgspec.Struct):
    """Where to go."""

    url: str


@processor(
    Manifest(
        name="visit",
        version="1",
        summary="Fetch a page.",
        resource_class=ResourceClass.IO,
        dependencies=("http",),
    )
)
async def visit(given: Input, context: Context) -> str:
    """The page's text."""
    page = await context.http.get(given.url)
    context.log.info("the page is there", length=len(page.body))
    logging.getLogger("some.library").warning("a library knows of no job")
    return f"{page.text} {context.traceparent}"
