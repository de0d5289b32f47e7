"""Energy of requests from end to end: an engine drives fake GPUs, a sampler reads, the record tells who used what."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.attribution.attribute import METHOD
from tests.fake_nvml.driven_sweep import run_driven
from tests.fake_nvml.fake_gpus import SENSED_H100, FakeGpus, Library
from tests.fake_nvml.truth import Truth

from .command import sweep_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WORK = (
    "workflow=composite",
    "load=poisson",
    "load.request_rate=4",
    "load.num_workflows=60",
    "engine.max_num_seqs=32",
    "workflow.executor=local",
    "protocol.warmup_s=1",
    "protocol.idle_baseline_s=2",
)


@pytest.fixture(scope="module")
def ran(fake_nvml_library: Library, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Truth]:
    """The folder of a cell, its record, and what its requests really used."""
    folder = tmp_path_factory.mktemp("attributed")
    machine = FakeGpus.create(folder, [SENSED_H100], fake_nvml_library)
    options = ("hardware=h100_sxm", "collectors.power=nvml", "tracking=none", "executor=inline")
    ended = run_driven(folder, machine, *options, *WORK)
    (path,) = (sweep_folder(folder) / "cells").glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] in ("ok", "invalid"), ended.err
    return path.parent, record, Truth.of_cell(machine, record["cell_id"])


def test_requests_have_what_they_used(ran: tuple[Path, dict[str, Any], Truth]):
    folder, record, truth = ran
    assert record["provenance"]["attribution"] == METHOD
    requests = pd.read_parquet(folder / "requests.parquet").set_index("request_id")
    true = pd.DataFrame({name: (each.prefill_j, each.decode_j) for name, each in truth.requests.items()}).T.loc[
        requests.index
    ]
    off = (requests["prefill_energy_j"] + requests["decode_energy_j"]) / true.sum(axis=1) - 1
    assert np.median(np.abs(off)) < 0.05
    assert requests["prefill_energy_j"].sum() == pytest.approx(true[0].sum(), rel=0.05)
    assert requests["decode_energy_j"].sum() == pytest.approx(true[1].sum(), rel=0.05)


def test_the_record_tells_roles_tenants_and_what_is_left(ran: tuple[Path, dict[str, Any], Truth]):
    metrics = ran[1]["metrics"]
    assert abs(metrics["attribution_residual_ratio"]) < 0.01
    assert metrics["attribution_misfit_ratio"] < 0.15
    for name in ("tenant/chat", "tenant/map_reduce"):
        assert metrics[f"{name}/attributed_energy_j_per_workflow"] > 0
    roles_j = [value for key, value in metrics.items() if key.startswith("role/")]
    assert sum(roles_j) == pytest.approx(metrics["attributed_energy_j_per_workflow"])
    parts_j = metrics["prefill_energy_j"] + metrics["decode_energy_j"] + metrics["idle_energy_j"]
    assert parts_j == pytest.approx(metrics["total_gpu_energy_j"], rel=0.03)
