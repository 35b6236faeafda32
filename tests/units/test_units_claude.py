"""Claude's usage, field by field: units are disjoint, add up to what is billed, and nothing null or odd breaks them."""

from __future__ import annotations

from typing import Any

import pytest

from payi_otel.instrumentors._claude import MessageStreamReader, read_message, read_tool_uses, read_usage

PLAIN = {"input_tokens": 10, "output_tokens": 5}


def units(usage: Any, model: str | None = "claude-opus-5") -> dict[str, tuple[int, int]]:
    """The units as pairs."""
    read = read_usage(usage, model)
    assert read is not None
    return {name: (unit.input, unit.output) for name, unit in read.units.items()}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"text": (10, 5)}),
        ({"cache_read_input_tokens": 7}, {"text": (10, 5), "text_cache_read": (7, 0)}),
        ({"cache_creation_input_tokens": 7}, {"text": (10, 5), "text_cache_write": (7, 0)}),
        (
            {"cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}},
            {"text": (10, 5), "text_cache_write": (4, 0), "text_cache_write_1h": (3, 0)},
        ),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}},
            {"text": (10, 5), "text_cache_write": (4, 0), "text_cache_write_1h": (3, 0)},
        ),
        ({"output_tokens_details": {"thinking_tokens": 4}}, {"text": (10, 1), "reasoning": (0, 4)}),
        ({"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 3}}, {"text": (10, 5), "web_search_request": (0, 2)}),
        (
            dict.fromkeys(
                ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use", "output_tokens_details")
            ),
            {"text": (10, 5)},
        ),
        ({"iterations": [{"type": "message", **PLAIN}]}, {"text": (10, 5)}),
        (
            {"iterations": [{"type": "message", **PLAIN}, {"type": "compaction", "input_tokens": 90, "output_tokens": 9}]},
            {"text": (100, 14)},
        ),
    ],
)
def test_every_field_has_its_unit(more: dict[str, Any], expected: dict[str, tuple[int, int]]) -> None:
    """Null means nothing; a compaction is billed beside the totals; messages are within them."""
    assert units({**PLAIN, **more}) == expected


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": None, "output_tokens": None}])
def test_no_usage_is_none(usage: Any) -> None:
    """It is estimated then, not billed as zero."""
    assert read_usage(usage, None) is None


@pytest.mark.parametrize(
    ("model", "read", "suffix"),
    [
        ("claude-sonnet-4-5-20250929", 200_001, "_large_context"),
        ("claude-sonnet-4-20250514", 200_001, "_large_context"),
        ("claude-sonnet-4-5", 199_990, ""),
        ("claude-sonnet-4-6", 300_000, ""),
        ("claude-opus-5", 300_000, ""),
        (None, 300_000, ""),
    ],
)
def test_long_prompts_have_a_price_of_their_own_where_the_model_has_one(model: str | None, read: int, suffix: str) -> None:
    """Counted with what was cached, and only past 200,000."""
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": read}
    assert units(usage, model) == {f"text{suffix}": (10, 5), f"text_cache_read{suffix}": (read, 0)}


def test_what_other_models_did_is_told_apart() -> None:
    """An adviser's tokens are in no total; a fallback that answered itself is in all of them."""
    iterations = [
        {"type": "message", **PLAIN},
        {"type": "advisor_message", "model": "claude-big", "input_tokens": 100, "output_tokens": 20},
        {"type": "fallback_message", "model": "claude-opus-5", **PLAIN},
        {"type": "fallback_message", "model": "claude-other", "input_tokens": 3, "output_tokens": 2},
    ]
    answer = read_message({"id": "msg_1", "model": "claude-opus-5", "usage": {**PLAIN, "iterations": iterations}})
    assert answer.usage is not None
    assert answer.usage.input_tokens == 10
    others = [(other.model, other.suffix, other.usage.input_tokens, other.usage.output_tokens) for other in answer.others]
    assert others == [("claude-big", "advisor_message.2", 100, 20), ("claude-other", "fallback_message.4", 3, 2)]


@pytest.mark.parametrize(("geo", "scope"), [("us", "datazone.us"), ("global", None), ("not_available", None), (None, None)])
def test_where_it_ran_is_the_resource_scope(geo: str | None, scope: str | None) -> None:
    """Only where that has a price of its own."""
    assert read_message({"usage": {**PLAIN, "inference_geo": geo}}).resource_scope == scope


def test_speed_and_tier_are_said() -> None:
    """The standard ones are not worth a word."""
    fast = read_message({"usage": {**PLAIN, "speed": "fast", "service_tier": "priority"}})
    assert (fast.properties, fast.service_tier) == ({"payi_otel.speed": "fast"}, "priority")
    assert read_message({"usage": {**PLAIN, "speed": "standard"}}).properties == {}


def test_later_counts_win_and_nulls_do_not() -> None:
    """A delta repeats some counts, and says null of others; the split of cache writes stands in the start alone."""
    reader = MessageStreamReader()
    split = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}
    start = {**PLAIN, "output_tokens": 1, "cache_creation_input_tokens": 3, "cache_creation": split}
    reader.take({"type": "message_start", "message": {"id": "msg_1", "model": "claude-opus-5", "usage": start}})
    delta = {"input_tokens": 12, "output_tokens": 9, "cache_creation_input_tokens": None}
    reader.take({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": delta})
    answer = reader.answer()
    assert answer.usage is not None
    assert {name: (unit.input, unit.output) for name, unit in answer.usage.units.items()} == {
        "text": (12, 9),
        "text_cache_write": (1, 0),
        "text_cache_write_1h": (2, 0),
    }
    assert (answer.response_id, list(answer.finish_reasons)) == ("msg_1", ["end_turn"])


def test_a_stream_without_a_start_does_not_fail() -> None:
    """Some gateways leave it out."""
    reader = MessageStreamReader()
    reader.take({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}})
    answer = reader.answer()
    assert answer.usage is not None
    assert answer.usage.output_tokens == 9


def test_tools_of_the_callers_are_named_whatever_their_index_and_input() -> None:
    """The first block counts, and so does a tool without input; one that ran at the provider is not the caller's."""
    message = {"content": [{"type": "tool_use", "name": "a", "input": {}}, {"type": "server_tool_use", "name": "web", "input": {}}]}
    assert [(call.name, call.arguments) for call in read_tool_uses([message])] == [("a", "{}")]
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "a", "input": {}}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "b", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": '{"x":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"partial_json": "1}"}},
    ]
    assert [(call.name, call.arguments) for call in read_tool_uses(events)] == [("a", "{}"), ("b", '{"x":1}')]
