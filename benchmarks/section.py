"""A section of a page of the documentation, written from measured results: the rest of the page is people's."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def write_section(page: str, heading: str, body: str) -> None:
    """Put ``body`` under the ``## heading`` of ``docs/<page>``, in the place of what is there; else at its end."""
    path = DOCS / page
    path.write_text(with_section(path.read_text(), heading, body))


def with_section(text: str, heading: str, body: str) -> str:
    """The text of a page with this section in it."""
    section = f"## {heading}\n\n{body.strip()}\n"
    place = re.compile(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if place.search(text) is None:
        return f"{text.rstrip()}\n\n{section}"
    return place.sub(lambda found: section + ("\n" if found.end() < len(text) else ""), text, count=1)
