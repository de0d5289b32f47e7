"""What a browser would make of a report: its text, what it loads, the size of its pictures."""

import struct
from html.parser import HTMLParser


class Page(HTMLParser):
    """Text outside scripts, and everything a browser would load or run."""

    def __init__(self, html):
        super().__init__()
        self.text, self.loads, self.scripts, self.tags, self.links = [], [], 0, [], []
        self._inside = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self._inside = tag if tag in ("script", "style") else self._inside
        self.scripts += tag == "script"
        self.loads += [values[name] for name in ("src", "data", "poster") if name in values]
        self.loads += [values["href"]] if tag == "link" else []
        self.links += [values["href"]] if tag == "a" else []

    def handle_endtag(self, tag):
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data):
        if self._inside is None:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def size_of(png):
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])
