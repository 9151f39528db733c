"""The event pages of the demo, as a slow, sometimes overloaded site would serve them."""

import asyncio
import contextlib
import zlib
from collections import Counter
from importlib.resources import files

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

SAMPLES = files("processors.builtin") / "samples" / "govejle-page" / "pages"
SLOW_S = {"oekolariet-foredrag": 3.0, "musikteatret-svanesoeen": 2.0}
USUAL_S = 0.2
LOOK_EVERY_S = 0.05
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 420">
<defs><linearGradient id="sky" x2="0" y2="1"><stop stop-color="hsl(HUE,45%,28%)"/>
<stop offset="1" stop-color="hsl(HUE,60%,72%)"/></linearGradient></defs>
<rect width="1200" height="420" fill="url(#sky)"/><circle cx="930" cy="150" r="64" fill="#fff4d6"/>
<path d="M0 330 Q200 230 420 310 T820 280 T1200 320 V420 H0Z" fill="hsl(HUE,40%,22%)"/>
<path d="M0 380 Q300 310 600 370 T1200 360 V420 H0Z" fill="hsl(HUE,45%,14%)"/></svg>"""
ROBOTS = "User-agent: *\nDisallow: /admin/\n"


class Pages:
    """Serves the samples that lie beside the processor; `visits` counts what was asked for."""

    def __init__(self) -> None:
        self.visits: Counter[str] = Counter()
        self.app = Starlette(
            routes=[
                Route("/robots.txt", self._robots),
                Route("/det-sker/{name}", self._page),
                Route("/travlt/{name}", self._busy),
                Route("/billeder/{name}", self._picture),
                Route("/media/{name}", self._picture),
            ]
        )

    async def _robots(self, request: Request) -> Response:
        return PlainTextResponse(ROBOTS)

    async def _page(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.visits[name] += 1
        found = SAMPLES / f"{name}.html"
        if not found.is_file():
            return PlainTextResponse("Siden findes ikke", 404)
        await _think(request, SLOW_S.get(name, USUAL_S))
        return HTMLResponse(found.read_bytes())

    async def _picture(self, request: Request) -> Response:
        """A drawing, another one for each name."""
        hue = zlib.crc32(request.path_params["name"].encode()) % 360
        return Response(PICTURE.replace("HUE", str(hue)), media_type="image/svg+xml")

    async def _busy(self, request: Request) -> Response:
        """Overloaded when first asked, as a small site is after its newsletter went out."""
        if not self.visits[request.url.path]:
            self.visits[request.url.path] += 1
            return PlainTextResponse("Kom igen om lidt", 503, {"retry-after": "1"})
        return await self._page(request)


async def _think(request: Request, seconds: float) -> None:
    """Take that long, or until nobody waits for the page any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not await request.is_disconnected():  # noqa: ASYNC110 - it tells only when asked
                await asyncio.sleep(LOOK_EVERY_S)
