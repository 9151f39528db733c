"""Pages that would take minutes to parse are refused before anybody tries.

selectolax 1.0 takes time that grows with the square of the depth: 15,000 nested elements take it a
second, 60,000 half a minute. Event pages have some dozen levels and some thousand elements.
"""

import re

from processors.sdk import TooLarge

DEPTH_MAX = 20_000
ELEMENTS_MAX = 100_000
TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
VOID = "area base br col embed hr img input link meta source track wbr"
CLOSED_BY_THE_NEXT = "p li dt dd option optgroup tr td th thead tbody tfoot rb rt rtc rp"
UNNESTED = frozenset(f"{VOID} {CLOSED_BY_THE_NEXT}".split())


def check_parsable(html: str) -> None:
    """Raises TooLarge, which says how, for a page with too many elements or too deep ones."""
    depth = elements = 0
    for match in TAG.finditer(html):
        if match[1]:
            depth = max(0, depth - 1) if match[2].lower() not in UNNESTED else depth
            continue
        elements += 1
        depth += match[2].lower() not in UNNESTED
        if depth > DEPTH_MAX:
            raise TooLarge(f"the page nests its elements more than {DEPTH_MAX} deep")
        if elements > ELEMENTS_MAX:
            raise TooLarge(f"the page has more than {ELEMENTS_MAX} elements")
