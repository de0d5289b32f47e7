"""A sweep as one tenant sees it: its own requests, workflows and latencies; the energy stays that of the whole cell."""

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.measure.breakdown import TENANT_PREFIX, tenant_key


def own_series(series: Mapping[str, pa.Table], tenant: str) -> dict[str, pa.Table]:
    """The rows of a tenant; a cell of one workflow has one tenant, called as the workflow."""
    return {name: table.filter(pc.field("tenant") == tenant) for name, table in series.items()}


def own_latencies(frame: pd.DataFrame, tenant: str) -> pd.DataFrame:
    """The frame with the tenant's latencies in place of those of cells it shares; NaN where it has no such figure."""
    shared_keys = [key for key in frame if str(key).startswith(TENANT_PREFIX)]
    shared = frame[shared_keys].notna().any(axis=1)
    own = frame.copy()
    for key in [key for key in frame if str(key).endswith("_ms") and key not in shared_keys]:
        column = tenant_key(tenant, str(key))
        own[key] = frame[key].mask(shared, frame[column] if column in frame else float("nan"))
    return own
