"""Comparison of load generators: the definitions of lateness and agreement, and that the client runs."""

import json
import subprocess
import sys

import pytest

from benchmarks.client_ceiling import arrivals, null_server
from benchmarks.load_page import page
from benchmarks.load_statistics import level_of, paired_difference
from benchmarks.null_server import blast
from benchmarks.request_file import Options, build


def test_delay_counts_from_the_promptest_request():
    level = level_of("ours", 100.0, [5.0, 5.012, 5.020, 5.031])
    assert level.median_delay_ms == pytest.approx(0.5)
    assert level.p99_delay_ms == pytest.approx(1.97)
    assert level.reached == pytest.approx(3 / 0.031)


def test_a_difference_is_within_a_share_only_if_all_of_its_interval_is():
    close = paired_difference([(101.0, 100.0), (99.0, 100.0), (100.5, 100.0), (99.5, 100.0)])
    assert close.difference == pytest.approx(0.0)
    assert close.half_width == pytest.approx(0.0145, abs=1e-4)  # t(3) = 3.182, s = 0.913, n = 4
    assert (close.is_within(), close.is_seen) == (True, False)
    known = paired_difference([(103.0, 100.0), (103.1, 100.0), (102.9, 100.0)])
    assert (known.is_within(), known.is_within(0.03), known.is_seen) == (True, False, True)
    vague = paired_difference([(120.0, 100.0), (80.0, 100.0), (100.0, 100.0)])
    assert (vague.is_within(), vague.is_seen) == (False, False)


def test_a_file_of_requests_is_sent_as_it_stands(tmp_path):
    path = tmp_path / "requests.jsonl"
    rows = [
        {"prompt": "w1 w2", "prompt_tokens": 2, "output_tokens": 3},
        {"prompt": [7], "prompt_tokens": 1, "output_tokens": 4},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = build(Options(kind="benchmarks.request_file", path=str(path), arrivals_per_s=4.0), seed=1)
    (text,), (ids,) = (source.workflow(index).steps[0].prompt for index in range(2))
    assert (text.text, text.n_tokens, ids.token_ids) == ("w1 w2", 2, (7,))
    assert list(source.arrivals_s) == [0.25, 0.5]
    assert source.workflow(2).steps[0].prompt == (text,)


def test_the_page_says_what_was_reached_and_what_agrees():
    pair = {"mean_ttft_ms": 50.0, "mean_tpot_ms": 10.0, "output_throughput": 100.0}
    pairs = [{"ours": {**pair, "mean_ttft_ms": ttft}, "theirs": pair} for ttft in (60.0, 60.1, 59.9)]
    agreement = {"date": "d", "machine": "m", "requests": 9, "rate": 4.0, "prompt_tokens": 8, "output_tokens": 4}
    levels = [
        {"client": client, "rate": rate, "reached": rate, "median_delay_ms": 0.1, "p99_delay_ms": delay}
        for client, rate, delay in [
            ("joulegrid", 500.0, 1.0),
            ("vllm bench serve", 500.0, 2.0),
            ("joulegrid", 900.0, 3.0),
        ]
    ]
    ceiling = {"date": "d", "machine": "m", "server_ceiling": 50894.2, "seconds": 4.0, "levels": levels}
    text = page({**agreement, "pairs": pairs}, ceiling)
    assert "| mean TTFT, ms | 60 | 50 | +20.00% | ± 0.50% | no | yes |" in text
    assert "| mean TPOT, ms | 10 | 10 | +0.00% | ± 0.00% | yes | no |" in text
    assert "| 900 | 3 (3 to 3) | not run |" in text
    assert "median run: up to **900** requests per second, against **500**; in the best run, 900 against 500." in text
    assert "## Agreement" not in page(None, ceiling)


@pytest.mark.slow
def test_a_file_of_requests_reaches_the_null_server_at_its_rate(tmp_path):
    pytest.importorskip("uvloop")
    row = {"prompt": [1, 2, 3], "prompt_tokens": 3, "output_tokens": 1}
    path = tmp_path / "requests.jsonl"
    path.write_text((json.dumps(row) + "\n") * 40)
    with null_server() as port:
        assert blast(port, json.dumps(row).encode(), for_s=0.2) > 0
        arrivals(port)
        overrides = (
            f"engine.base_url=http://127.0.0.1:{port}",
            "engine.prompts=token_ids",
            "load=replay",
            f"workflow.path={path}",
            "workflow.arrivals_per_s=100",
        )
        command = [sys.executable, "-m", "benchmarks.file_cell", *overrides]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seen = arrivals(port)[-40:]
    assert json.loads(output.splitlines()[-1])["whole_output_throughput"] == pytest.approx(100, rel=0.1)
    assert seen[-1] - seen[0] == pytest.approx(0.39, rel=0.2)
