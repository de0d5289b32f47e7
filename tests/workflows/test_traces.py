import gzip
import statistics

import pytest

from workflows.drive import drive
from workflows.library import trace_replay
from workflows.load import ReplayLoad
from workflows.traces import SHIPPED_TRACES, read_trace

HEADER = "arrival_s,ContextTokens,GeneratedTokens\n"


def replay(trace, **options):
    return trace_replay.build(trace_replay.Options(kind="trace_replay", trace=str(trace), **options), seed=0)


def lengths(source, n):
    steps = [source.workflow(index).steps[0] for index in range(n)]
    return [(step.prompt[0].n_tokens, step.output_tokens) for step in steps]


@pytest.fixture
def csv_of(tmp_path):
    def write(text):
        path = tmp_path / "mine.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("trace", "n", "last_s", "context", "generated"),
    [
        ("azure_2023_conv", 19_366, 3501.722, (1154.697, 14_050), (211.126, 1000)),
        ("azure_2023_code", 8_819, 3435.948, (2047.848, 7437), (27.883, 1899)),
    ],
)
def test_shipped_traces_are_the_published_ones(trace, n, last_s, context, generated):
    rows = read_trace(trace, start_s=0, duration_s=None)
    assert len(rows) == n
    assert rows[0].arrival_s == 0
    assert rows[-1].arrival_s == last_s
    for counts, (mean, largest) in zip(
        ([row.prompt_tokens for row in rows], [row.output_tokens for row in rows]), (context, generated), strict=True
    ):
        assert statistics.mean(counts) == pytest.approx(mean, abs=1e-3)
        assert max(counts) == largest


def test_every_shipped_trace_is_covered_above():
    assert set(SHIPPED_TRACES) == {"azure_2023_conv", "azure_2023_code"}


def test_rows_arrive_when_they_were_recorded(run, engine):
    source = replay("azure_2023_conv", duration_s=5)
    load = ReplayLoad(kind="replay", speedup=10)
    spans = run(drive(source, load, execute=engine.execute, clock=engine.clock, seed=0))
    assert lengths(source, 4) == [(374, 44), (396, 109), (879, 55), (91, 16)]
    assert [span.arrival_s for span in spans] == pytest.approx([0, 0.4315, 0.4542, 0.4710])
    assert {span.tenant for span in spans} == {"azure_2023_conv"}


def test_a_slice_counts_from_its_own_first_row(csv_of):
    source = replay(csv_of(HEADER + "0,1,1\n10,2,2\n12,3,3\n20,4,4\n"), start_s=5, duration_s=15)
    assert source.arrivals_s == (0, 2)
    assert lengths(source, 2) == [(2, 2), (3, 3)]


def test_timestamps_may_have_zones_and_other_columns_are_ignored(csv_of):
    path = csv_of(
        "\ufeffGeneratedTokens,TIMESTAMP,model,ContextTokens\n"
        "7,2024-05-10 00:00:00.009930+00:00,a,100\n"
        "8,2024-05-10 02:00:01.509930+02:00,b,200\n"
    )
    source = replay(path)
    assert source.arrivals_s == pytest.approx((0, 1.5))
    assert lengths(source, 2) == [(100, 7), (200, 8)]


def test_a_count_of_zero_is_read_as_one(csv_of):
    assert lengths(replay(csv_of(HEADER + "0,0,0\n")), 1) == [(1, 1)]


def test_a_trace_may_be_compressed(tmp_path):
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "0,5,6\n").encode()))
    source = replay(path)
    assert lengths(source, 1) == [(5, 6)]
    assert source.workflow(0).workflow_id == "mine-0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: needs columns arrival_s or TIMESTAMP, ContextTokens, GeneratedTokens"),
        ("arrival_s,prompt\n0,1\n", "line 1: needs columns arrival_s or TIMESTAMP"),
        (HEADER, "has no row from 0 s to inf s after its first"),
        (HEADER + "0,1,1\n1,x,1\n", "line 3: ContextTokens must be a whole number of tokens, at least 0, got 'x'"),
        (HEADER + "0,1,-2\n", "line 2: GeneratedTokens must be a whole number of tokens, at least 0, got '-2'"),
        (HEADER + "0,1,1.5\n", "line 2: GeneratedTokens must be a whole number"),
        (HEADER + "soon,1,1\n", "line 2: arrival_s must be a number of seconds, got 'soon'"),
        (HEADER + "nan,1,1\n", "line 2: arrival_s must be a number of seconds, got 'nan'"),
        (HEADER + "0,1\n", "line 2: 2 columns, the header has 3"),
        (HEADER + "3,1,1\n\n2.5,1,1\n", "line 4: arrives 0.5 s before the row above; rows must ascend in time"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\nmonday,1,1\n", "line 2: TIMESTAMP must be ISO 8601, got 'monday'"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_trace_that_is_not_one_is_refused_with_its_line(csv_of, text, message):
    with pytest.raises(ValueError, match=r"mine\.csv") as caught:
        replay(csv_of(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trace_that_is_not_there_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"No such file.*; allowed: azure_2023_conv, azure_2023_code, or the path"):
        replay(tmp_path / "nowhere.csv")


def test_an_archive_cut_short_is_refused(tmp_path):
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "0,5,6\n").encode())[:-10])
    with pytest.raises(ValueError, match="cannot be read"):
        replay(path)


def test_an_empty_slice_is_refused():
    with pytest.raises(ValueError, match="'azure_2023_code' has no row from 9000 s to 9010 s after its first"):
        replay("azure_2023_code", start_s=9000, duration_s=10)
