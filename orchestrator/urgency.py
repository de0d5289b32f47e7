"""When a request is due under ``scheduling_policy: workflow``: the order in which waiting requests are admitted.

A workflow with n output tokens ahead on its critical path is due 50 n ms after it began, and what is due first goes
first. Three things follow:

- *Short work first.* Among workflows of equal age the one with the least ahead goes first, which is what lowers the
  mean time of workflows in a queue. A task group counts as a whole (`workflows.critical_path`): all of a document's
  maps count as the work they are, not as so many small requests, and are admitted side by side. A workflow's later
  steps keep its start and have less ahead, so what was begun is finished before the like of it is begun.
- *Nobody starves.* Every workflow ages at the same pace, so an order never changes while requests wait: one that is due
  ``D`` after its start can be overtaken only by workflows that began at most ``D`` later.
- *Nothing to decide in between.* An order that time does not change needs no decision between events.

The 50 ms are a pace an interactive user is content with, the order of the TPOT objectives of MLPerf's interactive
scenarios. A larger figure is closer to shortest-remaining-first, 0 is the order of the workflows' starts.

It takes the number of output tokens as known, which holds where lengths are forced, as in Joulegrid's workflows; a
service would have to predict them. vLLM knows no such policy, but a priority per request: this time in milliseconds.
"""

from workflows.request import Request

_PACE_S_PER_TOKEN = 0.05


def due_s(request: Request) -> float:
    """When a request is due, on the clock of the cell: the earliest is the most urgent."""
    return request.workflow_started_s + _PACE_S_PER_TOKEN * request.remaining_tokens
