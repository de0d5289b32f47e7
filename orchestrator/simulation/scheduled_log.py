"""Which request had how many tokens in the simulated iterations, as the series of a real engine has it."""

import pyarrow as pa

from orchestrator.records.series import SCHEDULED
from orchestrator.simulation.decode_group import DecodeGroup
from orchestrator.simulation.run import Run


class ScheduledLog:
    """One row for each sequence of a run; it costs as much as there are of these, so only who asks has it."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, str, int, int, int]] = []

    def add(self, row: int, run: Run, decoding: DecodeGroup) -> None:
        """Note a run that is complete and not yet counted: row ``row`` of the iterations."""
        for chunk in run.step.chunks:
            self._rows.append((row, chunk.sequence.request_id, chunk.n_tokens, int(chunk.samples), chunk.start))
        n = run.n_iterations
        self._rows += [(row, sequence.request_id, 0, n, computed) for sequence, computed in decoding.computed()]

    def table(self) -> pa.Table:
        """The rows so far, in `orchestrator.records.series.SCHEDULED`."""
        columns = list(zip(*self._rows, strict=True)) or [()] * len(SCHEDULED)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEDULED, strict=True)]
        return pa.Table.from_arrays(arrays, schema=SCHEDULED)
