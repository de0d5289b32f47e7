import gzip
import statistics
from typing import get_args

import pytest
from pydantic import ValidationError

from workflows.lengths import LengthClass, rows_of_class
from workflows.library import sampled_requests
from workflows.traces import SHIPPED_LENGTHS, LengthRow, read_lengths

HEADER = "prompt_tokens,output_tokens\n"


def drawn(n, seed=0, **options):
    source = sampled_requests.build(sampled_requests.Options(kind="sampled_requests", **options), seed=seed)
    workflows = [source.workflow(index) for index in range(n)]
    assert source.arrivals_s is None
    assert all(len(workflow.steps) == 1 for workflow in workflows)
    return [LengthRow(w.steps[0].prompt[0].n_tokens, w.steps[0].output_tokens) for w in workflows]


@pytest.fixture
def csv_of(tmp_path):
    def write(text):
        path = tmp_path / "mine.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    ("rows", "n", "prompt_mean", "output_mean", "correlation"),
    [
        ("azure_2023_conv", 19_366, 1154.697, 211.126, -0.112),
        ("azure_2023_code", 8_819, 2047.848, 27.883, 0.001),
        ("arxiv_summarization", 2_000, 2612.640, 272.432, -0.440),
    ],
)
def test_draws_keep_the_means_and_the_correlation_of_the_rows(rows, n, prompt_mean, output_mean, correlation):
    whole = read_lengths(rows)
    assert len(whole) == n
    assert statistics.mean(row.prompt_tokens for row in whole) == pytest.approx(prompt_mean, abs=1e-3)
    assert statistics.mean(row.output_tokens for row in whole) == pytest.approx(output_mean, abs=1e-3)
    sample = drawn(5_000, rows=rows)
    assert set(sample) <= set(whole)
    assert statistics.mean(row.prompt_tokens for row in sample) == pytest.approx(prompt_mean, rel=0.05)
    assert statistics.correlation(*zip(*sample, strict=True)) == pytest.approx(correlation, abs=0.04)


def test_every_shipped_set_of_rows_is_covered_above():
    assert set(SHIPPED_LENGTHS) == {"azure_2023_conv", "azure_2023_code", "arxiv_summarization"}


def test_draws_are_pure_functions_of_seed_and_index():
    assert drawn(50, rows="arxiv_summarization") == drawn(50, rows="arxiv_summarization")
    assert drawn(50, rows="arxiv_summarization") != drawn(50, rows="arxiv_summarization", seed=1)


def test_every_row_of_a_file_is_drawn_about_equally_often(csv_of):
    path = csv_of("model,output_tokens,prompt_tokens\na,1,10\nb,2,20\n\nc,0,30\n")
    sample = drawn(3_000, rows=path)
    assert set(sample) == {(10, 1), (20, 2), (30, 1)}
    assert all(sample.count(row) == pytest.approx(1_000, rel=0.1) for row in set(sample))


def test_a_file_may_be_compressed(tmp_path):
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "5,6\n").encode()))
    assert drawn(2, rows=str(path)) == [(5, 6), (5, 6)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: needs columns prompt_tokens, output_tokens"),
        ("prompt,output\n1,1\n", "line 1: needs columns prompt_tokens, output_tokens"),
        (HEADER, "has a header but no row"),
        (HEADER + "1,1\nx,1\n", "line 3: prompt_tokens must be a whole number of tokens, at least 0, got 'x'"),
        (HEADER + "1,-2\n", "line 2: output_tokens must be a whole number of tokens, at least 0, got '-2'"),
        (HEADER + "1\n", "line 2: 1 columns, the header has 2"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_file_that_does_not_hold_lengths_is_refused_with_its_line(csv_of, text, message):
    with pytest.raises(ValueError, match=r"mine\.csv") as caught:
        drawn(1, rows=csv_of(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_that_are_not_there_are_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"No such file.*; allowed: azure_2023_conv, .*arxiv_summarization, or the"):
        drawn(1, rows=str(tmp_path / "nowhere.csv"))


@pytest.mark.parametrize(
    ("length_class", "inside", "outside"),
    [
        ("SS", [(1, 1), (255, 99)], [(256, 99), (255, 100)]),
        ("SL", [(1, 350), (255, 5000)], [(255, 349), (256, 350)]),
        ("MM", [(256, 100), (1023, 349)], [(255, 100), (1024, 100), (256, 99), (256, 350)]),
        ("LS", [(1024, 1), (8192, 99)], [(1023, 1), (8193, 1), (1024, 100)]),
    ],
)
def test_classes_are_bounded_as_documented(length_class, inside, outside):
    rows = [LengthRow(*row) for row in (*inside, *outside)]
    assert rows_of_class(length_class, rows) == tuple(inside)


def test_every_row_up_to_the_longest_prompt_is_in_exactly_one_class():
    rows = read_lengths("azure_2023_conv")
    by_class = [rows_of_class(name, rows) for name in get_args(LengthClass)]
    assert sorted(row for actual in by_class for row in actual) == sorted(r for r in rows if r.prompt_tokens <= 8192)


def test_requests_of_a_class_are_of_that_class_and_carry_its_name():
    sample = drawn(200, rows="azure_2023_conv", length_class="ML")
    assert all(256 <= row.prompt_tokens < 1024 and row.output_tokens >= 350 for row in sample)
    assert len(set(sample)) > 100
    options = sampled_requests.Options(kind="sampled_requests", rows="azure_2023_conv", length_class="ML")
    assert sampled_requests.build(options, seed=0).workflow(3).workflow_id == "ML-3"


def test_a_class_without_rows_and_an_unknown_class_are_refused(csv_of):
    message = "no row of length class SL: prompts of 1 to 255 tokens and outputs of 350 to"
    with pytest.raises(ValueError, match=message):
        drawn(1, rows=csv_of(HEADER + "5,6\n"), length_class="SL")
    with pytest.raises(ValidationError, match="'SS', 'SM', 'SL'"):
        drawn(1, rows="azure_2023_conv", length_class="XL")
