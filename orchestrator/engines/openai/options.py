"""Options of `engine=openai`, and the address of its server."""

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from orchestrator.spec.engine import EngineOptions

PromptFormat = Literal["auto", "token_ids", "text"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of a server's base URL. ``prefix`` is the path before ``/v1``, without a trailing slash."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def root(self) -> str:
        """The normalised base URL, without ``/v1``."""
        return f"{self.scheme}://{self._bracketed_host}:{self.port}{self.prefix}"

    @property
    def host_header(self) -> str:
        """The value of the HTTP header ``Host``: no port if it is the default of the scheme."""
        host = self._bracketed_host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def _bracketed_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_address(base_url: str) -> Address:
    """Parse a base URL, given with or without ``/v1``.

    Raises:
        ValueError: it is not http(s)://HOST[:PORT][/PATH], or contains a user, a password, a query or a fragment.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"must be http://HOST:PORT or https://HOST, with or without /v1, got {base_url!r}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "must not contain a user, a password, a query or a fragment; "
            "name the environment variable of the API key with api_key_env"
        )
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Address(scheme=parts.scheme, host=parts.hostname, port=port, prefix=path)


class Options(EngineOptions):
    """Options of a running server. Settings of the server itself are recorded as given and never sent.

    ``base_url`` may end in ``/v1``. ``served_model`` None selects the first model that the server lists.
    ``api_key_env`` names the environment variable of the API key; no record contains the key. ``prompts`` auto sends
    token ids if the server accepts and returns them, else text of measured length. With ``natural_stops`` a request may
    end at the model's end token; otherwise outputs have exactly the length that the workflow requests. ``extra_body``
    is added to every request.
    """

    kind: Literal["openai"]
    clock: Literal["wall"] = "wall"
    base_url: str
    served_model: str | None = None
    api_key_env: str | None = None
    prompts: PromptFormat = "auto"
    natural_stops: bool = False
    request_timeout_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    max_num_seqs: int = Field(default=256, ge=1)
    max_num_batched_tokens: int = Field(default=8192, ge=1)

    @field_validator("base_url")
    @classmethod
    def _normalise_base_url(cls, value: str) -> str:
        """Normalise the URL, so that two spellings of one server give the same cell id."""
        return parse_address(value).root

    @property
    def address(self) -> Address:
        """The address of the server."""
        return parse_address(self.base_url)

    @property
    def exclusive(self) -> str:
        """The server: two cells must not run on it at the same time."""
        return self.base_url
