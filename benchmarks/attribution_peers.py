"""How others divide a window's energy among its requests, on the series that we have, too.

They are given the energy of the busy time only, which most of them do not know.
"""

import numpy as np

from orchestrator.measure.columns import Columns, Floats

Division = tuple[Floats, Floats]
"""Energy of each request's prefill and decode. Units: J; where a method has no prefill, it is 0."""


def by_output_tokens(requests: Columns, energy_j: float) -> Division:
    """Every output token costs the same: the ML.ENERGY benchmark (arXiv 2505.06371), aiperf and others."""
    tokens = requests.floats("output_tokens")
    return np.zeros(len(tokens)), energy_j * tokens / tokens.sum()


def by_tokens(requests: Columns, energy_j: float) -> Division:
    """Every token, of prompt or output, costs the same, idle power taken off before."""
    prompt = requests.floats("prompt_tokens") - requests.floats("cached_tokens")
    output = requests.floats("output_tokens")
    each_j = energy_j / (prompt + output).sum()
    return each_j * prompt, each_j * output


def by_time(requests: Columns, energy_j: float) -> Division:
    """Power at every instant in equal parts among the requests in flight, prefill being the time to the first token.

    So profilers divide a device among processes; the power is taken to be that of the mean, as a window average has it.
    """
    names = ("scheduled_s", "first_token_s", "finished_s")
    scheduled_s, first_s, finished_s = (requests.floats(name) for name in names)
    edges_s = np.unique(np.concatenate([scheduled_s, finished_s, first_s]))
    active = np.searchsorted(np.sort(scheduled_s), edges_s[:-1], side="right") - np.searchsorted(
        np.sort(finished_s), edges_s[:-1], side="right"
    )
    lengths_s = np.diff(edges_s)
    share_s = np.concatenate([[0.0], np.cumsum(lengths_s / np.maximum(active, 1))])
    at = [np.interp(t_s, edges_s, share_s) for t_s in (scheduled_s, first_s, finished_s)]
    watts = energy_j / lengths_s[active > 0].sum()
    return watts * (at[1] - at[0]), watts * (at[2] - at[1])
