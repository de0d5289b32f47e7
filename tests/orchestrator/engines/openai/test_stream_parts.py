"""Parsing of streams, and words of measured length."""

import asyncio
import json

import pytest

from orchestrator.engines.openai.prompts import MeasuredWords, measure_words
from orchestrator.engines.openai.stream import CompletionStream, EventReader

_STREAM = b': ping\n\nevent: x\ndata: {"a": 1}\n\ndata:{"b": "\\u00e9"}\r\n\r\ndata: [DONE]\n\n'


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_do_not_depend_on_how_the_bytes_are_cut(size):
    reader = EventReader()
    pieces = [_STREAM[start : start + size] for start in range(0, len(_STREAM), size)]
    events = [json.loads(event) for piece in pieces for event in reader.feed(piece)]
    assert events == [{"a": 1}, {"b": "é"}]
    assert reader.ended


def _stream(*events):
    stream = CompletionStream()
    for at_s, event in enumerate(events):
        stream.feed(b"data: " + json.dumps(event).encode() + b"\n\n", float(at_s))
    return stream


def _chunk(text="", finish_reason=None, **more):
    return {"choices": [{"text": text, "finish_reason": finish_reason, **more}]}


def test_a_chunk_without_text_counts_as_a_token_unless_it_is_the_last():
    stream = _stream(_chunk(), _chunk(" ab"), _chunk("", "length"))
    assert stream.n_tokens == 2
    assert stream.token_times_s() == (0.0, 1.0)


def test_a_last_chunk_without_text_is_a_token_if_the_server_counts_it():
    usage = {"choices": [], "usage": {"completion_tokens": 3}}
    stream = _stream(_chunk(" a"), _chunk(" b"), _chunk("", "length"), usage)
    assert stream.token_times_s() == (0.0, 1.0, 2.0)


def test_more_tokens_than_chunks_are_spread_over_the_chunks():
    usage = {"choices": [], "usage": {"completion_tokens": 5}}
    assert _stream(_chunk(" a"), _chunk(" b", "length"), usage).token_times_s() == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_a_finish_reason_ends_a_stream_without_done():
    assert not _stream(_chunk(" a")).ended
    assert _stream(_chunk(" a", "stop")).ended


class _Tokenizer:
    """Counts ``before`` tokens and ``each`` for every word, one more for words in ``odd``."""

    def __init__(self, before, each, odd=()):
        self.before, self.each, self.odd = before, each, odd

    async def count(self, text):
        return self.before + sum(self.each + (word in self.odd) for word in text.split())


@pytest.mark.parametrize(("before", "each", "odd"), [(0, 1, ()), (1, 1, ("water", "people")), (2, 3, ("that",))])
def test_measured_words_have_equal_token_counts(before, each, odd):
    tokenizer = _Tokenizer(before, each, odd)
    words = asyncio.run(measure_words(tokenizer.count))
    assert (words.overhead, words.tokens_each) == (before, each)
    assert not set(odd) & set(words.words)
    text = words.text("w:message", 60)
    assert asyncio.run(tokenizer.count(text)) == before + 60


def test_a_shorter_text_of_a_content_is_a_prefix_of_a_longer_one():
    words = MeasuredWords(words=("a", "b", "c", "d"), tokens_each=1, overhead=0)
    assert words.text("shared:system", 50).startswith(words.text("shared:system", 20))
    assert words.text("shared:system", 50) != words.text("w:message", 50)
