"""Facts from OpenGraph and the event tags that some sites add to it."""

import re
from collections.abc import Mapping

from processors.govejle.event import Facts, bare_title
from processors.govejle.local_time import parse_iso
from processors.govejle.page import Page, web_url


def facts_from_opengraph(page: Page) -> Facts:
    """What the page's OpenGraph tags say."""
    metas = page.metas
    return Facts(
        title=title_of(metas),
        summary=metas.get("og:description"),
        start=parse_iso(metas.get("event:start_time", "")),
        end=parse_iso(metas.get("event:end_time", "")),
        venue_name=metas.get("event:location"),
        image_url=web_url(metas.get("og:image:secure_url") or metas.get("og:image", ""), page.url),
    )


def title_of(metas: Mapping[str, str]) -> str | None:
    """`og:title` without the site's name behind it and `AFLYST` before it."""
    title = metas.get("og:title")
    if title is None:
        return None
    return bare_title(without_site(title, metas.get("og:site_name", ""))) or None


def without_site(title: str, site: str) -> str:
    """`Koncert | Bygningen` without ` | Bygningen`, where that is the site."""
    if not site:
        return title
    return re.sub(rf"\s*[|–—-]\s*{re.escape(site)}\s*$", "", title, flags=re.IGNORECASE)
