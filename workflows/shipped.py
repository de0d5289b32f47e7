"""The data that ships with the workflows (data/README.md says where each file is from)."""

from importlib import resources


def read_bytes(name: str) -> bytes:
    """The content of a file of `workflows/data`."""
    return resources.files("workflows").joinpath("data", name).read_bytes()


def read_text(name: str) -> str:
    """The content of a text file of `workflows/data`."""
    return read_bytes(name).decode()
