"""Real token ids of a prompt: equal contents are equal tokens everywhere, and generated ones come along as they are."""

import subprocess
import sys

import pytest

from workflows.request import Request, Segment, prompt_token_ids


def _request(*segments: Segment) -> Request:
    return Request(request_id="w/a", workflow_id="w", tenant="t", step="a", role="r", prompt=segments, output_tokens=1)


def test_equal_contents_are_equal_tokens_and_shorter_ones_prefixes():
    long = prompt_token_ids(_request(Segment("shared:system", 1000), Segment("w:query", 5)), 32000)
    short = prompt_token_ids(_request(Segment("shared:system", 137), Segment("v:query", 5)), 32000)
    assert len(long) == 1005
    assert short[:137] == long[:137]
    assert short[137:] != long[1000:]


def test_ids_keep_clear_of_the_ends_of_the_vocabulary_where_special_tokens_are():
    ids = prompt_token_ids(_request(Segment("x", 20_000)), 1000)
    assert min(ids) == 50
    assert max(ids) == 949
    assert len(set(ids)) == 900


def test_generated_tokens_come_along_as_they_are():
    ids = prompt_token_ids(_request(Segment("w:q", 2), Segment("w/first", 3, (7, 0, 999))), 1000)
    assert ids[2:] == [7, 0, 999]


def test_tokens_of_a_larger_vocabulary_are_folded_into_this_one():
    ids = prompt_token_ids(_request(Segment("w/first", 3, (7, 1000, 2003))), 1000)
    assert ids == [7, 0, 3]


def test_a_generated_segment_of_another_length_is_refused():
    with pytest.raises(ValueError, match="segment w/first has 4 tokens but 3 ids"):
        prompt_token_ids(_request(Segment("w/first", 4, (7, 0, 999))), 1000)


def test_another_process_gives_the_same_tokens():
    code = (
        "from workflows.request import prompt_token_ids as p; from workflows.request import *;"
        "print(p(Request(request_id='a',workflow_id='a',tenant='t',step='s',role='r',"
        "prompt=(Segment('shared:system',8),),output_tokens=1),32000))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == str(prompt_token_ids(_request(Segment("shared:system", 8)), 32000))
