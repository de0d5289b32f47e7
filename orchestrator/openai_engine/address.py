"""Where a server is."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server's address in its parts. ``prefix`` is the path before ``/v1``, without a slash at its end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def root(self) -> str:
        """The address without ``/v1``, as it is shown and compared."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.prefix}"

    @property
    def host_header(self) -> str:
        """Host and port as HTTP wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"http": 80, "https": 443}


def read_address(base_url: str) -> Address:
    """The parts of a base URL, given with or without ``/v1``.

    Raises:
        ValueError: it is not http(s)://HOST[:PORT][/PATH], or holds a password, a query or a fragment.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(f"must be http://HOST:PORT or https://HOST, with or without /v1, got {base_url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment: name the key's variable with api_key_env")
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return Address(scheme=parts.scheme, host=parts.hostname, port=parts.port or _PORTS[parts.scheme], prefix=path)
