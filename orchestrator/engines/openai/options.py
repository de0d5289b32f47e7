"""What may be said of a server in a configuration."""

from typing import Any, Literal

from pydantic import Field, field_validator

from orchestrator.engines.openai.dialect import Prompts
from orchestrator.engines.openai.http import Address, read_address
from orchestrator.spec.engine import EngineOptions


class Options(EngineOptions):
    """A running server. What is the server's own is recorded as given here, and never sent.

    ``base_url`` may end in ``/v1`` or not. ``served_model`` None takes the first that the server lists. ``api_key_env``
    names the environment variable of the key, which is in no record. ``prompts`` auto sends token ids where the server
    takes and returns them and text of measured length otherwise. ``natural_stops`` lets a request end at the model's
    end token; otherwise outputs have exactly the length the workflow asks for. ``extra_body`` goes with every request.
    """

    kind: Literal["openai"]
    clock: Literal["wall"] = "wall"
    base_url: str
    served_model: str | None = None
    api_key_env: str | None = None
    prompts: Prompts = "auto"
    natural_stops: bool = False
    request_timeout_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    max_num_seqs: int = Field(default=256, ge=1)
    max_num_batched_tokens: int = Field(default=8192, ge=1)

    @field_validator("base_url")
    @classmethod
    def _one_spelling(cls, value: str) -> str:
        """Two spellings of an address are one server, and so one cell."""
        return read_address(value).root

    @property
    def address(self) -> Address:
        """Where the server is."""
        return read_address(self.base_url)

    @property
    def exclusive(self) -> str:
        """Two cells at once on one server would measure each other."""
        return self.base_url
