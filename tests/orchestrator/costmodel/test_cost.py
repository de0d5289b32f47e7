"""Time, energy and clock of an iteration: values computed by hand, and properties."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_cells import a_cell, costs

from orchestrator.costmodel.cost import CONTEXT_BUCKET_TOKENS
from orchestrator.costmodel.memory import kv_capacity_tokens
from orchestrator.costmodel.work import Batch, all_parameters, linear_parameters

QWEN3_30B_A3B = {
    "name": "moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "max_model_len": 40960,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}


def decode(n, context):
    return Batch(n_tokens=n, n_sampled=n, context_tokens=n * context, n_pairs=n * context)


def prefill(n_tokens):
    pairs = n_tokens * (n_tokens + 1) // 2
    return Batch(n_tokens, 1, n_tokens, pairs, prefill_pairs=pairs, has_prefill=True)


@pytest.mark.parametrize(
    ("model", "billions"),
    [("llama2_7b", 6.74), ("llama2_13b", 13.02), ("llama2_70b", 68.98), ("llama3_1_8b", 8.03), ("llama3_1_70b", 70.55)],
)
def test_presets_have_the_parameters_their_names_say(model, billions):
    assert all_parameters(a_cell(model=model, model_changes={"max_model_len": 1024}).model) / 1e9 == pytest.approx(
        billions, abs=0.01
    )


def test_a_mixture_of_experts_counts_experts_and_router():
    model = a_cell(model_changes=QWEN3_30B_A3B).model
    assert all_parameters(model) / 1e9 == pytest.approx(30.5, abs=0.1)
    active = linear_parameters(model) + 48 * 8 * 3 * 2048 * 768 + 2 * 151936 * 2048
    assert active / 1e9 == pytest.approx(3.3, abs=0.1)


def test_time_of_a_decode_step_term_by_term():
    """Llama-3.1-8B on H100, batch 64, context 1000, by the equations of docs/simulation.md."""
    linear = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    head = 128256 * 4096
    memory_s = (linear + head) * 2 / (0.82 * 3350e9)
    compute_s = 64 * 2 * (linear + head) / 989e12
    gemm_s = (memory_s**3 + compute_s**3) ** (1 / 3)
    kv_s = 64 * 1000 * 2 * 8 * 128 * 32 * 2 / (0.851 * 3350e9)
    expected_s = 1.24e-3 + 32 * 16.3e-6 + gemm_s + kv_s + 64 * 42e-6
    cost = costs().modelled_at(decode(64, 1000), 1980, capped=False)
    assert cost.time_s(64_000) == pytest.approx(expected_s, rel=1e-12)


@pytest.mark.parametrize(("n", "measured_ms"), [(8, 7.3), (64, 11.5), (256, 26.1), (512, 47.4)])
def test_decode_steps_on_h100_are_near_the_measured_ones(n, measured_ms):
    """Measured: ML.ENERGY v3, Llama-3.1-8B; mean context about 600. Steps without prefill lie a little below."""
    cost = costs().cost(decode(n, 600))
    assert cost.time_s(n * 600) * 1e3 == pytest.approx(measured_ms, rel=0.12)


def test_tensor_parallel_divides_work_and_adds_all_reduces():
    one, four = costs(1, model="llama3_1_70b"), costs(4, model="llama3_1_70b")
    batch = decode(8, 500)
    one_s, four_s = (c.modelled_at(batch, 1980, capped=False).time_s(4000) for c in (one, four))
    assert four_s == pytest.approx(17e-3, rel=0.1)
    assert one_s / 4 < four_s < one_s / 2


def test_experts_hit_more_weights_as_the_batch_grows():
    moe = costs(model_changes=QWEN3_30B_A3B)
    few, many = (moe.modelled_at(decode(n, 500), 1980, capped=False) for n in (1, 64))
    share = (1 - (1 - 8 / 128) ** 64) / (8 / 128)
    expert_j = (many.weights_j - few.weights_j) / (share - 1)
    bytes_of_one = 48 * 8 * 3 * 2048 * 768 * 2
    assert expert_j == pytest.approx(433 * bytes_of_one / 3350e9, rel=1e-9)


def test_power_uncapped_at_full_memory_bandwidth_is_static_plus_memory():
    cost = costs().modelled_at(decode(1, 1), 1980, capped=False)
    weights = 433 * (linear_parameters(a_cell().model) + 128256 * 4096) * 2 / 3350e9
    assert cost.weights_j == pytest.approx(weights, rel=1e-12)
    assert cost.static_w == pytest.approx(133)


batches = st.one_of(
    st.builds(decode, st.integers(1, 512), st.integers(1, 4000)), st.builds(prefill, st.integers(1, 8192))
)


@settings(deadline=None)
@given(batches, st.sampled_from([1, 4]))
def test_power_and_speed_grow_with_the_clock(batch, n_gpus):
    model = costs(n_gpus)
    points = [model.modelled_at(batch, mhz, capped=False) for mhz in range(210, 1981, 177)]
    times = [point.time_s(batch.context_tokens) for point in points]
    powers = [point.energy_j(batch) / time_s for point, time_s in zip(points, times, strict=True)]
    assert times == sorted(times, reverse=True)
    assert powers == sorted(powers)


def power_w(cost, batch, n_gpus=1):
    return cost.energy_j(batch) / cost.time_s(batch.context_tokens) / n_gpus


@settings(deadline=None)
@given(batches, st.integers(200, 690), st.sampled_from([1, 2]))
def test_the_limit_holds_with_the_largest_clock_that_fits(batch, limit_w, n_gpus):
    def cost_with(**limits):
        return costs(n_gpus, hardware_changes=limits).cost(batch)

    free, limited = cost_with(power_limit_w=700), cost_with(power_limit_w=limit_w)
    assert limited.power_capped == (free.power_capped or power_w(free, batch, n_gpus) > limit_w)
    assert power_w(limited, batch, n_gpus) <= limit_w
    if limited.sm_clock_mhz < free.sm_clock_mhz:
        faster = cost_with(power_limit_w=700, sm_clock_mhz=limited.sm_clock_mhz + 1)
        assert power_w(faster, batch, n_gpus) > limit_w


@settings(deadline=None)
@given(st.integers(1, 256), st.integers(1, 3000), st.integers(200, 600))
def test_the_clock_is_one_throughout_a_bucket_and_keeps_the_limit_there(n, context, limit_w):
    model = costs(hardware_changes={"power_limit_w": limit_w})
    cost = model.decode_cost(n, n * context)
    start = context // CONTEXT_BUCKET_TOKENS * CONTEXT_BUCKET_TOKENS
    for inside in (start, start + CONTEXT_BUCKET_TOKENS - 1):
        assert model.decode_cost(n, n * inside) == cost
        assert cost.energy_j(decode(n, inside)) / cost.time_s(n * inside) <= limit_w * (1 + 1e-12)


def test_a_limit_below_the_power_at_the_lowest_clock_is_exceeded_and_marked():
    model = costs(hardware_changes={"power_limit_w": 50, "min_power_limit_w": 50})
    batch = decode(64, 1000)
    cost = model.cost(batch)
    assert (cost.sm_clock_mhz, cost.power_capped) == (210, True)
    assert cost.energy_j(batch) / cost.time_s(64_000) > 50


def test_a_clock_lock_bounds_the_clock_and_is_not_a_cap():
    cost = costs(hardware_changes={"sm_clock_mhz": 990}).cost(decode(8, 500))
    assert (cost.sm_clock_mhz, cost.power_capped) == (990, False)


def test_no_limit_set_is_the_default_limit():
    batch = prefill(8192)
    assert costs().cost(batch) == costs(hardware_changes={"power_limit_w": 700}).cost(batch)


def test_the_highest_limit_holds_for_the_heaviest_batch():
    assert power_w(costs().cost(prefill(8192)), prefill(8192)) <= 700


def test_cap_effect_has_the_published_shape():
    """Samsi et al.: a cap at 72 % of the power costs little time and saves about a fifth of the energy."""
    batch = decode(64, 600)
    free = costs().cost(batch)
    free_s = free.time_s(batch.context_tokens)
    free_w = free.energy_j(batch) / free_s
    capped = costs(hardware_changes={"power_limit_w": 0.72 * free_w}).cost(batch)
    slower = capped.time_s(batch.context_tokens) / free_s
    assert 1.05 < slower < 1.12
    assert 0.75 < capped.energy_j(batch) / free.energy_j(batch) < 0.82


def test_kv_capacity_is_what_weights_and_activations_leave():
    cell = a_cell(hardware="a100_40gb_sxm")
    left = 40 * 2**30 * 0.9 - 8.03e9 * 2 - 8192 * (4 * 4096 + 2 * 14336) * 2 - 256 * 128256 * 4
    assert kv_capacity_tokens(cell) == pytest.approx(left / 131072, rel=1e-3)
    assert math.gcd(kv_capacity_tokens(cell), 16) == 16
