"""mkdocs.yml: the site's pages in the order in which docs/index.md lists them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SECTION = re.compile(r"^(\w[^\n]*):\n\n((?:[-\d].*\n(?:  .*\n)*)+)", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+\.md)\)")

HEAD = """\
# Made from docs/index.md; `make docs` builds the site, which fetches nothing from elsewhere.
site_name: Roughneck
site_description: A job platform that you host yourself
docs_dir: docs
site_dir: site
strict: true
theme:
  name: material
  language: en
  font: false
  features: [navigation.sections, navigation.top, toc.follow, content.code.copy]
  palette:
    - media: "(prefers-color-scheme: light)"
      scheme: default
      toggle: { icon: material/weather-night, name: Dark }
    - media: "(prefers-color-scheme: dark)"
      scheme: slate
      toggle: { icon: material/weather-sunny, name: Light }
plugins: [search]
markdown_extensions:
  - admonition
  - tables
  - toc: { permalink: true }
  - pymdownx.highlight
  - pymdownx.superfences
validation:
  omitted_files: warn
  absolute_links: warn
  unrecognized_links: warn
  anchors: warn
"""


def site_page() -> str:
    """mkdocs.yml at the root."""
    lines = ["nav:", "  - index.md"]
    listed = {"index.md"}
    for title, rows in SECTION.findall((DOCS / "index.md").read_text("utf-8")):
        lines.append(f"  - {title.partition(',')[0]}:")
        for name in LINK.findall(rows):
            if name not in listed:
                listed.add(name)
                lines.append(f"      - {name}")
    every = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    if others := sorted(every - listed):
        lines += ["  - More:", *(f"      - {name}" for name in others)]
    return HEAD + "\n".join(lines) + "\n"
