"""What the platform can do, and who does it: processors and workers."""

from starlette.responses import Response

from gateway.auth import Scope
from gateway.call import Call, Operation, answer
from gateway.problems import NotFound
from gateway.wire import PageView
from gateway.wire_registry import ProcessorView
from streams.directory import WorkerCard


async def list_processors(call: Call) -> Response:
    """Every processor that a worker has published, by name."""
    await call.parts.processors.look_again()
    cards = call.parts.processors.rows()
    views = tuple(ProcessorView.of(cards[name]) for name in sorted(cards))
    return answer(PageView(views, None))


async def read_processor(call: Call) -> Response:
    """One processor with the JSON Schema of its input and output."""
    card = await call.parts.processors.find(call.name("name"))
    if card is None:
        raise NotFound(f"no worker has published a processor {call.name('name')[:100]}")
    return answer(ProcessorView.of(card))


async def list_workers(call: Call) -> Response:
    """The workers that announced themselves within the last minute."""
    return answer(PageView(tuple(await call.parts.directory.workers()), None))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/processors",
        "List processors",
        list_processors,
        Scope.READ,
        answers={200: PageView[ProcessorView]},
    ),
    Operation(
        "GET",
        "/v1/processors/{name}",
        "Read a processor and its schemas",
        read_processor,
        Scope.READ,
        answers={200: ProcessorView},
        errors=(NotFound,),
    ),
    Operation(
        "GET",
        "/v1/workers",
        "List workers",
        list_workers,
        Scope.READ,
        answers={200: PageView[WorkerCard]},
    ),
)
