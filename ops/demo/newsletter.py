"""The issue that the demo writes: kept as a file, and told of in a few lines."""

import base64
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

LOOK_S = 5.0
PICTURE = re.compile(r'src="(https?://[^"]+)"')


async def whole(html: str) -> str:
    """The HTML with its pictures in it: the site that they are on ends with the demo."""
    async with httpx.AsyncClient(timeout=LOOK_S, trust_env=False) as http:
        for source in dict.fromkeys(PICTURE.findall(html)):
            try:
                answer = (await http.get(source)).raise_for_status()
            except httpx.HTTPError:
                continue
            kind = answer.headers.get("content-type", "image/jpeg")
            data = base64.b64encode(answer.content).decode()
            html = html.replace(f'src="{source}"', f'src="data:{kind};base64,{data}"')
    return html


def kept(html: str, wanted: Path) -> Path:
    """Where the HTML is now: the file that was wanted, or one beside other temporary files."""
    page = html.encode()
    try:
        wanted.write_bytes(page)
    except OSError:  # a folder that one may not write to, a disk that is full
        with tempfile.NamedTemporaryFile(
            prefix="newsletter-", suffix=".html", delete=False
        ) as file:
            file.write(page)
        return Path(file.name)
    return wanted.resolve()


def told_of(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of what is in it."""
    dropped = [f"{one['event_id']} ({one['reason']})" for one in result["dropped"]]
    return [
        ("subject", result["subject"]),
        ("preheader", result["preheader"]),
        ("events", ", ".join(result["used_event_ids"])),
        ("not in it", ", ".join(dropped) or "nothing"),
        ("size", f"{len(result['html'].encode()) / 1_000:.0f} kB of HTML"),
    ]
