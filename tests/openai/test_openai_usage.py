"""OpenAI's usage to units: disjoint, never negative, adding up to what was billed, and never guessed."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from openai_shapes import chat_events, completion
from provider_server import Reply

from payi_otel.instrumentors.openai._usage import read_usage
from payi_otel.packets.units import WEB_SEARCH_REQUEST, Units, Usage

openai = pytest.importorskip("openai")
REQUEST = {"messages": [{"role": "user", "content": "Say hello."}], "model": "gpt-4o-mini"}
counts = st.integers(0, 10**12)
junk = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5), st.integers(-5, 5), st.lists(st.integers(), max_size=2))
IN = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens")
OUT = ("reasoning_tokens", "audio_tokens", "image_tokens")


def as_object(value: Any) -> Any:
    """JSON as the SDK's objects show it."""
    return SimpleNamespace(**{key: as_object(item) for key, item in value.items()}) if isinstance(value, dict) else value


def sides(usage: Usage) -> tuple[int, int]:
    """The units' sums, searches left out."""
    tokens = [unit for name, unit in usage.units.items() if name != WEB_SEARCH_REQUEST]
    return sum(unit.input for unit in tokens), sum(unit.output for unit in tokens)


@given(
    inputs=st.lists(counts, min_size=4, max_size=4),
    outputs=st.lists(counts, min_size=3, max_size=3),
    text=st.tuples(counts, counts),
    chat=st.booleans(),
    share=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_consistent_usage_is_split_without_rest(
    inputs: list[int], outputs: list[int], text: tuple[int, int], share: tuple[float, float], *, chat: bool
) -> None:
    """Whatever the parts, the units are disjoint and together they are the totals; object and JSON read alike."""
    total_in, total_out = sum(inputs) + text[0], sum(outputs) + text[1]
    names = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    given_in = dict(zip(IN, inputs, strict=True))
    cached_audio, cached_image = int(inputs[0] * share[0] / 2), int(inputs[0] * share[1] / 2)
    given_in["audio_tokens"] += cached_audio
    given_in["image_tokens"] += cached_image
    whole = {
        names[0]: total_in,
        names[1]: total_out,
        "total_tokens": total_in + total_out,
        names[0] + "_details": {**given_in, "cached_tokens_details": {"audio_tokens": cached_audio, "image_tokens": cached_image}},
        names[1] + "_details": dict(zip(OUT, outputs, strict=True)),
    }
    usage = read_usage(whole)
    assert usage is not None
    assert usage == read_usage(as_object(whole))
    assert usage.mismatch is None
    assert sides(usage) == (total_in, total_out)
    assert usage.units["text"] == Units(*text)
    assert all(unit.input >= 0 and unit.output >= 0 for unit in usage.units.values())
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens) == (inputs[0], inputs[1], outputs[0])


@given(
    total=st.tuples(counts, counts, counts),
    inputs=st.lists(counts, min_size=4, max_size=4),
    outputs=st.lists(counts, min_size=3, max_size=3),
    searches=st.integers(0, 9),
)
def test_inconsistent_usage_holds_to_the_totals(total: tuple[int, int, int], inputs: list[int], outputs: list[int], searches: int) -> None:
    """Parts beyond their total are cut and said; the sums stay what the provider billed."""
    assume(not outputs[0] or total[2] != total[0] + total[1] + outputs[0])
    usage = read_usage(
        {
            "prompt_tokens": total[0],
            "completion_tokens": total[1],
            "total_tokens": total[2],
            "prompt_tokens_details": dict(zip(IN, inputs, strict=True)),
            "completion_tokens_details": dict(zip(OUT, outputs, strict=True)),
        },
        web_searches=searches,
    )
    assert usage is not None
    assert sides(usage) == total[:2]
    assert all(unit.input >= 0 and unit.output >= 0 for unit in usage.units.values())
    is_consistent = sum(inputs) <= total[0] and sum(outputs) <= total[1] and total[0] + total[1] == total[2]
    assert (usage.mismatch is None) == is_consistent
    assert usage.units.get(WEB_SEARCH_REQUEST) == (Units(0, searches) if searches else None)


@given(
    usage=st.dictionaries(
        st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens"]),
        junk,
    ),
    details=st.one_of(junk, st.dictionaries(st.sampled_from([*IN, *OUT, "cached_tokens_details"]), junk)),
)
def test_junk_is_never_a_fault(usage: dict[str, Any], details: Any) -> None:
    """No shape of a usage makes the reader raise, go negative or invent a count."""
    for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"):
        usage[name + "_details"] = details
    read = read_usage(usage)
    if read is not None:
        assert all(unit.input >= 0 and unit.output >= 0 for unit in read.units.values())
        assert all(type(count) is int for count in read.to_attributes().values())


@pytest.mark.parametrize(
    ("usage", "units", "mismatch"),
    [
        ({"prompt_tokens": 12.0, "completion_tokens": "5"}, Units(12, 5), None),
        ({"prompt_tokens": 12.5, "completion_tokens": 5}, Units(0, 5), "prompt_tokens is no count"),
        ({"prompt_tokens": True, "completion_tokens": 5}, Units(0, 5), "prompt_tokens is no count"),
        ({"prompt_tokens": -1, "completion_tokens": 5}, Units(0, 5), "prompt_tokens is no count"),
        (
            {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
            Units(),
            "prompt_tokens is no count; completion_tokens is no count",
        ),
        ({"prompt_tokens": "twelve", "completion_tokens": 5}, Units(0, 5), "prompt_tokens is no count"),
        ({"prompt_tokens": "9" * 5000, "completion_tokens": 5}, Units(0, 5), "prompt_tokens is no count"),
        ({"completion_tokens": 5}, Units(0, 5), None),
        ({"prompt_tokens": 12}, Units(12, 0), None),
        ({"output_tokens": 5}, Units(0, 5), None),
        ({"input_tokens": 12}, Units(12, 0), None),
        ({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": None, "prompt_tokens_details": None}, Units(12, 5), None),
        ({"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 18}, Units(12, 5), "total_tokens is 18, input and output make 17"),
        ({"prompt_tokens": 12, "completion_tokens": 5, "completion_tokens_details": [1]}, Units(12, 5), None),
        ({"prompt_tokens": 10**30, "completion_tokens": 0}, Units(10**30, 0), None),
    ],
)
def test_odd_numbers(usage: dict[str, Any], units: Units, mismatch: str | None) -> None:
    """What is a whole number under another type is one; everything else is said to be none, without its text."""
    read = read_usage(usage)
    assert read is not None
    assert read.units == {"text": units}
    assert read.mismatch == mismatch


@pytest.mark.parametrize("usage", [None, {}, {"total_tokens": 5}, "12", 12, [], [{"prompt_tokens": 1}], {"prompt_tokens": None}])
def test_no_usage_is_none(usage: Any) -> None:
    """Nothing is made of nothing."""
    assert read_usage(usage) is None


@pytest.mark.parametrize(
    ("counts", "reasoning", "units"),
    [
        ({"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 331}, 317, {"text": (12, 2), "reasoning": (0, 317)}),  # xAI
        ({"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}, 60, {"text": (21, 0), "reasoning": (0, 60)}),
        ({"prompt_tokens": 21, "total_tokens": 81}, 60, {"text": (21, 0), "reasoning": (0, 60)}),  # Gemini
        ({"prompt_tokens": 21, "total_tokens": 81}, None, {"text": (21, 60)}),
        ({"completion_tokens": 21, "total_tokens": 81}, None, {"text": (60, 21)}),
        ({"input_tokens": 12, "output_tokens": 2, "total_tokens": 331}, 317, {"text": (12, 2), "reasoning": (0, 317)}),
        ({"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}, 9, {"text": (12, 0), "reasoning": (0, 9)}),
    ],
)
def test_the_sum_of_both_totals_says_where_the_reasoning_is(
    instrument: Any, client: Any, provider: Any, packets: Any, counts: Any, reasoning: int | None, units: dict[str, tuple[int, int]]
) -> None:
    """Services that speak like OpenAI's count it beside the output, or leave out a total."""
    instrument()
    name = "output_tokens_details" if "output_tokens" in counts else "completion_tokens_details"
    provider.script(Reply(completion(usage={**counts, name: {"reasoning_tokens": reasoning}})))
    client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {unit: {"input": given, "output": said} for unit, (given, said) in units.items()}
    assert "properties" not in packet["body"]


@pytest.mark.parametrize(
    ("given", "total", "details", "units"),
    [
        (1000, 1010, None, {"text": (50, 10), "text_cache_read": (900, 0), "text_cache_write": (50, 0)}),
        (
            1000,
            1010,
            {"cached_tokens": 900},
            {"text": (50, 10), "text_cache_read": (900, 0), "text_cache_write": (50, 0)},
        ),
        (1000, 1960, None, {"text": (1000, 10), "text_cache_read": (900, 0), "text_cache_write": (50, 0)}),
        (12, 22, None, {"text": (12, 10), "text_cache_read": (900, 0), "text_cache_write": (50, 0)}),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_claudes_cache_on_databricks_is_a_unit(
    instrument: Any, provider: Any, packets: Any, given: int, total: int, details: Any, units: dict[str, tuple[int, int]], streamed: bool
) -> None:
    """It stands in no details: inside the prompt's tokens, unless the sum or their number says that it is beside them."""
    instrument()
    cached = {"cache_read_input_tokens": 900, "cache_creation_input_tokens": 50, "prompt_tokens_details": details}
    usage = {"prompt_tokens": given, "completion_tokens": 10, "total_tokens": total, **cached}
    provider.script(Reply(events=chat_events(usage=usage)) if streamed else Reply(completion(usage=usage)))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/serving-endpoints", max_retries=0) as client:
        list(client.chat.completions.create(**REQUEST, stream=streamed))
    (packet,) = packets()
    assert packet["body"]["units"] == {unit: {"input": came, "output": said} for unit, (came, said) in units.items()}
    assert "properties" not in packet["body"]


def test_cached_audio_is_a_unit_of_its_own() -> None:
    """Where the provider splits what was cached, it is taken out of its own modality."""
    details = {"cached_tokens": 60, "audio_tokens": 50, "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 40}}
    usage = read_usage({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
    assert usage is not None
    assert usage.units == {
        "text": Units(30, 1),
        "text_cache_read": Units(20, 0),
        "audio_cache_read": Units(40, 0),
        "audio": Units(10, 0),
    }
    assert usage.mismatch is None


def test_impossible_split_is_left_alone_and_said() -> None:
    """More cached audio than audio is no split to go by."""
    details = {"cached_tokens": 10, "audio_tokens": 5, "cached_tokens_details": {"audio_tokens": 40}}
    usage = read_usage({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
    assert usage is not None
    assert usage.units == {"text": Units(85, 1), "text_cache_read": Units(10, 0), "audio": Units(5, 0)}
    assert usage.mismatch == "cached_tokens_details are more than what they are details of"


def test_mismatch_is_one_warning_and_a_property(
    instrument: Any, client: Any, provider: Any, packets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """More reasoning than output: the output's total holds, the packet and the log say so."""
    instrument()
    details = {"reasoning_tokens": 9}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "completion_tokens_details": details}
    provider.script(Reply(completion(usage=usage)))
    with caplog.at_level(logging.WARNING, "payi.instrument"):
        client.chat.completions.create(**REQUEST)
        (packet,) = packets()
    said = "the parts of output make 9, its total is 5"
    assert packet["body"]["units"] == {"text": {"input": 12, "output": 0}, "reasoning": {"input": 0, "output": 5}}
    assert packet["body"]["properties"] == {"payi_otel.usage_mismatch": said}
    assert [record.getMessage() for record in caplog.records] == [f"the usage of gpt-4o-mini does not add up: {said}"]


def test_audio_and_image_tokens_are_units(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Each modality is priced apart, on both sides."""
    instrument()
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"audio_tokens": 40, "image_tokens": 25, "cached_tokens": None},
        "completion_tokens_details": {"audio_tokens": 20, "accepted_prediction_tokens": 3, "rejected_prediction_tokens": 2},
    }
    provider.script(Reply(completion(usage=usage)))
    client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {
        "text": {"input": 35, "output": 30},
        "audio": {"input": 40, "output": 20},
        "vision": {"input": 25, "output": 0},
    }
    assert "properties" not in packet["body"]


def test_huge_counts_are_bounded_on_the_wire(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Pay-i takes 32 bits; a packet it refuses would be lost whole."""
    instrument()
    provider.script(Reply(completion(usage={"prompt_tokens": 10**15, "completion_tokens": 2**31, "total_tokens": 10**15 + 2**31})))
    client.chat.completions.create(**REQUEST)
    (packet,) = packets()
    assert packet["body"]["units"] == {"text": {"input": 2**31 - 1, "output": 2**31 - 1}}


def test_huge_counts_are_bounded_on_spans() -> None:
    """An exporter fails a whole batch of spans on a number beyond 64 bits."""
    usage = read_usage({"prompt_tokens": 10**30, "completion_tokens": 0})
    assert usage is not None
    assert usage.to_attributes()["gen_ai.usage.input_tokens"] == 2**63 - 1
