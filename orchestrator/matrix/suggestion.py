"""Names a person may have meant."""

import difflib
from collections.abc import Iterable


def allowed_names(given: str, allowed: Iterable[str]) -> str:
    """A clause for an error: the nearest name, if one is near, and all that are allowed."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    listed = f"allowed: {', '.join(names)}" if names else "nothing is allowed there"
    return f"did you mean {near[0]}? {listed}" if near else listed
