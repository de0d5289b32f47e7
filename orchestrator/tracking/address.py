"""Where MLflow is: an SQLite file or the address of a server."""

import re
from pathlib import Path

_SQLITE = "sqlite:///"
_SECRET = re.compile(r"//[^/@\s]+@")


def shown(uri: str) -> str:
    """The address without a user's name and password, for messages."""
    return _SECRET.sub("//***@", uri)


def sqlite_file(uri: str) -> Path | None:
    """The database file of an SQLite address, relative ones from the working directory; None for any other."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).absolute()
