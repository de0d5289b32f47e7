"""Graphs and token counts of the workflows against the figures they are taken from."""

import statistics
from collections import Counter

import pytest
from pydantic import ValidationError

from workflows.documents import chunks
from workflows.execute import execute
from workflows.graph import OutputOf, Shared
from workflows.library import chain_summary, copilot, map_reduce_summary, multi_agent_coding


def source(module, seed=0, **options):
    kind = module.__name__.rpartition(".")[2]
    return module.build(module.Options(kind=kind, **options), seed=seed)


def prompt_tokens(workflow, step):
    return workflow.context_tokens(step) - step.output_tokens


def shared_tokens(step):
    return sum(part.n_tokens for part in step.prompt if isinstance(part, Shared))


# copilot: figure 14


def test_copilot_asks_each_of_the_64_published_requests_once_a_cycle():
    flows = [source(copilot).workflow(index) for index in range(128)]
    lengths = [(prompt_tokens(flow, flow.steps[0]), flow.steps[0].output_tokens) for flow in flows]
    assert lengths[:64] == lengths[64:]
    assert (min(lengths), max(lengths)) == ((5508, 183), (6943, 800))
    assert sum(prompt for prompt, _ in lengths[:64]) == 375_735
    assert statistics.median(output for _, output in lengths[:64]) == 253.5
    assert Counter(lengths[:64])[(5986, 393)] == 7


def test_copilot_prompts_share_exactly_the_published_prefix(run, engine):
    flows = [source(copilot).workflow(index) for index in range(2)]
    for flow in flows:
        run(execute(flow, generate=engine.generate, clock=engine.clock))
    first, second = (request.prompt for request in engine.requests)
    assert first[0] == second[0]
    assert first[0].n_tokens == 5107
    assert first[1].content != second[1].content


def test_copilot_order_is_seeded_and_outputs_can_be_forced():
    def outputs(seed, **options):
        return [source(copilot, seed, **options).workflow(index).steps[0].output_tokens for index in range(64)]

    assert outputs(1) != outputs(2)
    assert sorted(outputs(1)) == sorted(outputs(2))
    assert set(outputs(1, output_tokens=400)) == {400}


# summaries: figures 11 to 13


@pytest.mark.parametrize(
    ("n_tokens", "expected"), [(2048, (1024, 1024)), (2049, (1024, 1024, 1)), (5, (5,)), (1024, (1024,))]
)
def test_chunks_are_full_but_the_last(n_tokens, expected):
    assert chunks(n_tokens, 1024) == expected


def test_a_chain_refines_the_last_summary_with_the_next_chunk():
    flow = source(chain_summary, chunk_tokens=1024, output_tokens=50, documents=(0,)).workflow(0)
    assert len(flow.steps) == 35
    assert [step.parents for step in flow.steps] == [(), *((step.name,) for step in flow.steps[:-1])]
    assert prompt_tokens(flow, flow.steps[0]) == 11 + 1024 + 11
    assert {prompt_tokens(flow, step) for step in flow.steps[1:-1]} == {22 + 50 + 42 + 1024 + 32}
    assert {step.output_tokens for step in flow.steps} == {50}


def test_every_token_of_a_document_is_read_once():
    flow = source(chain_summary, chunk_tokens=1024, output_tokens=50, documents=(3,)).workflow(0)
    instructions = sum(shared_tokens(step) for step in flow.steps)
    summaries = 50 * (len(flow.steps) - 1)
    assert sum(prompt_tokens(flow, step) for step in flow.steps) - instructions - summaries == 20_602


def test_chunks_of_486_tokens_give_the_chain_lengths_of_the_artifact():
    lengths = [
        len(source(chain_summary, chunk_tokens=486, output_tokens=50, documents=(number,)).workflow(0).steps)
        for number in range(10)
    ]
    assert lengths == pytest.approx([76, 47, 53, 46, 63, 58, 105, 101, 49, 64], rel=0.13)
    assert sum(lengths) == pytest.approx(662, rel=0.01)


def test_documents_come_in_a_seeded_order_each_once_a_cycle():
    def steps(seed, n):
        chain = source(chain_summary, seed, chunk_tokens=1024, output_tokens=50)
        return [len(chain.workflow(index).steps) for index in range(n)]

    assert steps(0, 20) == steps(0, 10) * 2
    assert sorted(steps(0, 10)) == sorted(steps(1, 10)) == [21, 22, 23, 26, 26, 30, 34, 35, 50, 53]
    assert steps(0, 10) != steps(1, 10)


def test_maps_run_side_by_side_and_one_reduce_reads_them_all(run, engine):
    flow = source(map_reduce_summary, chunk_tokens=1024, output_tokens=50, documents=(0,)).workflow(0)
    spans = run(execute(flow, generate=engine.generate, clock=engine.clock))
    assert engine.most_running == 35
    assert [span.ready_s for span in spans] == [0.0] * 35 + [1.0]
    assert prompt_tokens(flow, flow.steps[0]) == 23 + 1024 + 11
    assert prompt_tokens(flow, flow.by_name["reduce"]) == 10 + 35 * 50 + 28


@pytest.mark.parametrize("documents", [(), (10,), (-1,)])
def test_documents_that_are_not_there_are_refused(documents):
    with pytest.raises(ValidationError, match="documents are numbers from 0 to 9, at least one"):
        chain_summary.Options(kind="chain_summary", chunk_tokens=1024, output_tokens=50, documents=documents)


# multi-agent coding: figure 17

PROMPTS = {
    "coder": [2991] * 6 + [2992, 2991],
    "reviewer": [3717] * 6 + [3718, 3717],
    "reviser": [4175, 4176, 4175, 4175, 4175, 4175, 4178, 4175],
}
OUTPUTS = {
    "coder": [506, 822, 229, 447, 417, 196, 279, 444],
    "reviewer": [308, 331, 324, 278, 261, 238, 410, 394],
    "reviser": [511, 636, 254, 404, 424, 191, 172, 448],
}


def coding(branches=8, rounds=4, **options):
    return source(multi_agent_coding, branches=branches, rounds=rounds, **options).workflow(0)


@pytest.mark.parametrize("branches", [4, 8, 12, 16])
def test_every_prompt_and_output_has_the_published_length(branches):
    flow = coding(branches)
    assert (prompt_tokens(flow, flow.steps[0]), flow.steps[0].output_tokens) == (182, 706)
    for role, published in PROMPTS.items():
        steps = [step for step in flow.steps if step.role == role]
        n_layers = 1 if role == "coder" else 4
        assert [prompt_tokens(flow, step) for step in steps] == [published[b % 8] for b in range(branches)] * n_layers
        assert [step.output_tokens for step in steps] == [OUTPUTS[role][b % 8] for b in range(branches)] * n_layers


@pytest.mark.parametrize("branches", [4, 16])
def test_a_barrier_parts_the_ten_layers(run, engine, branches):
    engine.duration_s = lambda request: 5.0 if request.step.endswith("-1") else 1.0
    spans = run(execute(coding(branches), generate=engine.generate, clock=engine.clock))
    starts_s = [0.0] + [1.0 + 5.0 * layer for layer in range(9)]
    assert Counter(span.ready_s for span in spans) == Counter({s: branches if s else 1 for s in starts_s})
    assert engine.most_running == branches


def test_outputs_that_the_log_quotes_are_read_as_outputs():
    flow = coding()
    code = tuple(f"coder-{branch}" for branch in range(8))

    def read(name):
        return tuple(part.step for part in flow.by_name[name].prompt if isinstance(part, OutputOf))

    assert read("coder-3") == ("architect-0",)
    assert read("reviewer-1-3") == code
    assert read("reviser-1-3") == (*code, "reviewer-1-7")
    assert read("reviewer-2-3") == tuple(f"reviser-1-{branch}" for branch in range(8))


def test_a_layer_shares_all_but_the_end_of_its_prompts(run, engine):
    run(execute(coding(16), generate=engine.generate, clock=engine.clock))
    first, second, ninth = (engine.by_id[f"multi_agent_coding-0/reviewer-1-{b}"].prompt for b in (0, 1, 8))
    assert first[:-1] == second[:-1]
    assert first[-1] != second[-1]
    assert first == ninth  # branch 8 works on the file of branch 0
    assert first[-1].n_tokens == 55


def test_forced_outputs_change_what_is_read_and_nothing_else():
    published, forced = coding(), coding(output_tokens=100)
    assert {step.output_tokens for step in forced.steps} == {100}
    assert prompt_tokens(forced, forced.by_name["reviewer-1-0"]) == 3717 - sum(OUTPUTS["coder"]) + 8 * 100
    assert [step.parents for step in forced.steps] == [step.parents for step in published.steps]


@pytest.mark.parametrize("branches", [3, 17])
def test_branches_beyond_those_published_are_refused(branches):
    with pytest.raises(ValidationError, match="branches"):
        multi_agent_coding.Options(kind="multi_agent_coding", branches=branches, rounds=4)
