"""The command that goes on with a sweep as it was begun."""

import json
import re
import shlex
from typing import Any

from orchestrator.spec.names import dotted, shown
from orchestrator.spec.settings import Settings

_KEPT = {"runs_dir", "executor", "order", "max_attempts", "tracking", "cluster"}
_WRITTEN_AS = {"order": "protocol.order", "max_attempts": "protocol.max_attempts"}
_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./:+-]*")


def resume_command(sweep_id: str, settings: Settings) -> str:
    """A command for the shell, with every setting of how cells are run that is not the default.

    The password in an address is left out: it is the user's to put back.
    """
    given, usual = (dotted(each.model_dump(mode="json", include=_KEPT)) for each in (settings, Settings()))
    apart = {_WRITTEN_AS.get(key, key): value for key, value in given.items() if value != usual[key]}
    words = [f"{key}={_in_hydras_grammar(value)}" for key, value in apart.items()]
    return shlex.join(["python", "-m", "orchestrator", f"resume={sweep_id}", *words])


def _in_hydras_grammar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    text = shown(value)
    if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf"):
        return text
    return '"' + text.replace('"', r"\"") + '"'
