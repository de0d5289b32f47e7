"""Cells on a running server: requests in each dialect, and the completions made from the responses."""

import time

import pytest
from fake_completions import FakeCompletions, count, run
from openai_cells import a_request, run_requests

from orchestrator.engines.openai import cache
from orchestrator.errors import CellError
from workflows.request import Segment

VLLM = {"cached_tokens": 4, "flush_path": "/reset_prefix_cache"}


SGLANG = {"refuses": frozenset({"return_token_ids"}), "flush_path": "/flush_cache"}


LLAMA_CPP = {"ids_back": False, "empty_last_chunk": True, "tokenize_field": "content"}


TGI = {"takes_ids": False, "ids_back": False, "refuses": frozenset({"ignore_eos", "min_tokens"})}


BARE = {"takes_ids": False, "ids_back": False, "usage": False, "tokenize_field": "inputs"}


DIALECTS = {"vllm": VLLM, "sglang": SGLANG, "llama_cpp": LLAMA_CPP, "tgi": TGI, "bare": BARE}


@pytest.fixture(params=list(DIALECTS))
def server(request):
    return FakeCompletions(**DIALECTS[request.param])


def _one(server, request=None, **options):
    provenance, completions = run(server, lambda url: run_requests(url, request or a_request(), **options))
    return provenance, completions[0]


def test_every_dialect_gives_the_requested_length_and_a_time_for_every_token(server):
    before_s = time.monotonic()
    _, completion = _one(server, a_request(output_tokens=7))
    assert completion.output_tokens == 7
    assert len(completion.token_times_s) == 7
    assert before_s < completion.submitted_s < completion.first_token_s == completion.token_times_s[0]
    assert list(completion.token_times_s) == sorted(completion.token_times_s)
    assert completion.finished_s == completion.token_times_s[-1] < time.monotonic()


def test_every_dialect_gets_a_prompt_of_the_requested_length(server):
    _one(server, a_request(Segment("shared:system", 30), Segment("w:message", 12)))
    assert count(server.bodies[-1]["prompt"]) == 42


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("vllm", {"prompts": "token ids", "output_ids": "returned", "output_length": "forced with ignore_eos"}),
        (
            "sglang",
            {
                "output_ids": "not returned",
                "prefix_cache": "emptied before every cell with /flush_cache, or else its prompts are no other's",
            },
        ),
        ("llama_cpp", {"token_counts": "the server's usage", "output_length": "forced with ignore_eos"}),
        ("tgi", {"output_length": "max_tokens alone"}),
        ("bare", {"token_counts": "parts of the stream"}),
    ],
)
def test_the_provenance_holds_the_features_of_the_server(name, features):
    provenance, _ = _one(FakeCompletions(**DIALECTS[name]))
    assert features.items() <= provenance.items()
    assert provenance["served_model"] == "served"


def test_ids_are_requested_if_a_later_step_may_read_them():
    server = FakeCompletions(**VLLM)
    last, first = a_request(output_tokens=3), a_request(output_tokens=3, remaining_tokens=9)
    _, (of_last, of_first) = run(server, lambda url: run_requests(url, last, first))
    assert of_last.token_ids is None
    assert of_first.token_ids == (100, 101, 102)
    assert ["return_token_ids" in body for body in server.bodies[-2:]] == [False, True]


def test_a_later_step_carries_the_ids_of_an_earlier_one():
    server = FakeCompletions(**VLLM)
    _one(server, a_request(Segment("w:query", 4), Segment("w/first", 3, (100, 101, 102))))
    prompt = server.bodies[-1]["prompt"]
    assert len(prompt) == 7
    assert prompt[4:] == [100, 101, 102]


def test_with_text_prompts_a_later_step_carries_the_text_of_an_earlier_one():
    server = FakeCompletions(**TGI)
    read = a_request(Segment("w:query", 4), Segment("w/first", 2, text=" t0 t1 and"))
    _, (first, second) = run(server, lambda url: run_requests(url, a_request(output_tokens=2), read))
    assert first.text == " t0 t1"
    assert server.bodies[-1]["prompt"].endswith(" t0 t1 and")
    assert second.prompt_tokens == 4 + 3  # the count of the server, not of the segments


def test_prompts_are_text_if_ids_are_not_returned_unless_ids_are_configured():
    assert _one(FakeCompletions(**LLAMA_CPP))[0]["prompts"].startswith("text")
    assert _one(FakeCompletions(**LLAMA_CPP), prompts="token_ids")[0]["prompts"] == "token ids"
    assert _one(FakeCompletions(**VLLM), prompts="text")[0]["prompts"].startswith("text")


def test_a_server_that_misreads_ids_gets_text():
    class Joins(FakeCompletions):
        def _events(self, body, n):
            prompt = body["prompt"] if isinstance(body["prompt"], str) else " ".join(f"w{i:05}" for i in body["prompt"])
            return super()._events({**body, "prompt": prompt}, n)

    assert _one(Joins())[0]["prompts"].startswith("text")
    with pytest.raises(CellError, match="counts 11 prompt tokens where 5 were sent"):
        _one(Joins(), prompts="token_ids")


def test_cached_tokens_are_the_count_of_the_server_or_missing():
    assert _one(FakeCompletions(**VLLM))[1].cached_tokens == 4
    assert _one(FakeCompletions(**TGI))[1].cached_tokens is None


def test_cells_share_no_prompt_if_the_cache_cannot_be_reset():
    server = FakeCompletions()
    _one(server)
    _one(server)
    prompts = {str(body["prompt"]) for body in server.bodies if body["max_tokens"] == 5}
    assert len(prompts) == 2
    server.flush_path = "/reset_prefix_cache"
    _one(server)
    _one(server)
    assert len({str(body["prompt"]) for body in server.bodies if body["max_tokens"] == 5}) == 3


def test_the_reset_of_a_cache_in_use_is_repeated_and_otherwise_its_prompts_are_avoided(monkeypatch):
    monkeypatch.setattr(cache, "_RETRY_INTERVAL_S", 0.01)
    plain, later, never = (FakeCompletions(flush_path="/reset_prefix_cache", n_held=n) for n in (0, 3, 10**6))
    _one(plain)
    _one(later)
    assert later.bodies[-1]["prompt"] == plain.bodies[-1]["prompt"]
    assert later.paths.count("/reset_prefix_cache") == 4
    monkeypatch.setattr(cache, "_RESET_TIMEOUT_S", 0.03)
    provenance, _ = _one(never)
    assert never.bodies[-1]["prompt"] != plain.bodies[-1]["prompt"]
    assert provenance["prefix_cache"].endswith("or else its prompts are no other's")


def test_chunks_of_several_tokens_are_counted_by_their_ids_or_else_evenly():
    server = FakeCompletions(tokens_per_chunk=3, gap_s=0.005)
    request = a_request(output_tokens=7, remaining_tokens=8)
    _, completion = _one(server, request)
    assert len(set(completion.token_times_s)) == 3
    assert completion.token_times_s[0] == completion.token_times_s[2] < completion.token_times_s[3]
    _, completion = _one(FakeCompletions(tokens_per_chunk=3, gap_s=0.005, ids_back=False), request)
    assert len(completion.token_times_s) == 7
    assert len(set(completion.token_times_s)) == 3


def test_another_length_is_an_error_that_names_both():
    with pytest.raises(CellError, match=r"9 output tokens were requested and 6 received \(finish_reason stop\)"):
        _one(FakeCompletions(**TGI, stops_after=6), a_request(output_tokens=9))


def test_with_natural_stops_a_request_may_end_early():
    server = FakeCompletions(stops_after=6)
    _, completion = _one(server, a_request(output_tokens=9), natural_stops=True)
    assert completion.output_tokens == len(completion.token_times_s) == 6
    assert not any("ignore_eos" in body for body in server.bodies)


def test_min_tokens_takes_the_place_of_ignore_eos():
    server = FakeCompletions(refuses=frozenset({"ignore_eos"}), stops_after=2)
    assert _one(server, a_request(output_tokens=9))[1].output_tokens == 9
    assert server.bodies[-1]["min_tokens"] == 9


def test_priorities_go_only_to_a_server_that_schedules_by_them():
    server = FakeCompletions()
    _one(server)
    assert "priority" not in server.bodies[-1]
    _one(server, scheduling_policy="priority")
    assert server.bodies[-1]["priority"] == 0


def test_the_named_model_the_key_and_the_extra_fields_go_with_every_request(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    server = FakeCompletions()
    provenance, _ = _one(server, served_model="mine", api_key_env="MY_KEY", extra_body={"top_k": 1})
    assert {(body["model"], body["top_k"]) for body in server.bodies} == {("mine", 1)}
    assert server.keys == {"bearer secret"}
    assert "secret" not in str(provenance)


def test_an_api_key_that_is_not_set_is_named():
    with pytest.raises(CellError, match="api_key_env=NO_SUCH_KEY"):
        _one(FakeCompletions(), api_key_env="NO_SUCH_KEY")
