"""Images: what they cost is tokens of text and of images, or the images themselves; each call is one whole packet."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import Reply

openai = pytest.importorskip("openai")
streams = pytest.mark.skipif(
    "stream" not in inspect.signature(openai.resources.images.Images.generate).parameters, reason="this SDK has no streams of images"
)
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK's, of older models' methods

PNG = b"\x89PNG\r\n"
DATA = "iVBORw0KGgoAAAANSUhEUg" * 20
USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
    "output_tokens": 272,
    "output_tokens_details": {"image_tokens": 272, "text_tokens": 0},
    "total_tokens": 322,
}
ANSWER = {"created": 1, "size": "1024x1024", "quality": "low", "data": [{"b64_json": DATA}], "usage": USAGE}
UNITS = {"text": {"input": 10, "output": 0}, "vision": {"input": 40, "output": 0}, "image": {"input": 0, "output": 272}}
ASK: dict[str, Any] = {"model": "gpt-image-2", "prompt": "A cat.", "size": "1024x1024", "quality": "low"}
PRICED = {"payi_otel.image_size": "1024x1024", "payi_otel.image_quality": "low"}
SHOWN = [{"b64_json": "<not_instrumented>"}]


def body(packet: dict[str, Any]) -> dict[str, Any]:
    """The packet's body with its JSON read."""
    assert packet["scope"] == SCOPE
    return {
        name: json.loads(value) if name.endswith("_json") and isinstance(value, str) else value for name, value in packet["body"].items()
    }


EXPECTED = {
    "category": "system.openai",
    "resource": "gpt-image-2",
    "units": UNITS,
    "http_status_code": 200,
    "provider_response_id": "payi_<uuid4>",
    "properties": PRICED,
    "provider_response_json": {**ANSWER, "data": SHOWN},
}


def test_a_generated_image_is_one_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Text and images of the prompt apart from the image that was made."""
    instrument()
    provider.script(Reply(ANSWER))
    assert client.images.generate(**ASK).data[0].b64_json == DATA
    assert body(packets()[0]) == {**EXPECTED, "provider_request_json": ASK}


async def test_an_edit_records_the_fields_of_its_form_and_no_file(instrument: Any, async_client: Any, provider: Any, packets: Any) -> None:
    """The async client, a form with files in it."""
    instrument()
    asked = {name: ASK[name] for name in ("model", "prompt", "size")}
    provider.script(Reply(ANSWER))
    await async_client.images.edit(**asked, image=("a.png", PNG), extra_headers={"xProxy-User-ID": "alice"})
    assert PNG in provider.requests[0]["body"]
    (packet,) = packets()
    assert packet["scope"].pop("xproxy-user-id") == "alice"
    assert body(packet) == {**EXPECTED, "provider_request_json": {**asked, "image": "<not_instrumented>"}}


@pytest.mark.parametrize("raw", ["with_raw_response", "with_streaming_response"])
def test_raw_answers_count_alike(instrument: Any, client: Any, provider: Any, packets: Any, raw: str) -> None:
    """Read at once or later."""
    instrument()
    provider.script(Reply(ANSWER))
    if raw == "with_raw_response":
        assert client.images.with_raw_response.generate(**ASK).parse().data[0].b64_json == DATA
    else:
        with client.images.with_streaming_response.generate(**ASK) as response:
            response.read()
    assert body(packets()[0]) == {**EXPECTED, "provider_request_json": ASK}


def test_without_tokens_the_images_are_what_is_billed(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Older models, whose price is by size and quality; what was asked for is what is known of them."""
    instrument()
    answer = {"created": 1, "data": [{"url": "https://one"}, {"url": "https://two"}]}
    provider.script(Reply(answer))
    client.images.create_variation(image=("a.png", PNG), model="dall-e-2", n=2, size="512x512")
    assert body(packets()[0]) == {
        **EXPECTED,
        "resource": "dall-e-2",
        "units": {"image": {"input": 0, "output": 2}},
        "properties": {"payi_otel.image_size": "512x512"},
        "provider_request_json": {"image": "<not_instrumented>", "model": "dall-e-2", "n": 2, "size": "512x512"},
        "provider_response_json": answer,
    }


FINISHED = {"type": "image_generation.completed", "b64_json": DATA, "size": "1024x1024", "quality": "low", "usage": USAGE}
PARTIAL = {"type": "image_generation.partial_image", "b64_json": DATA, "partial_image_index": 0}


@streams
def test_a_stream_of_several_images_adds_them_up(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Each finished image tells its own tokens."""
    instrument()
    provider.script(Reply(events=[PARTIAL, FINISHED, FINISHED], done=False))
    assert len(list(client.images.generate(**ASK, n=2, stream=True))) == 3
    packet = body(packets()[0])
    assert packet["units"] == {name: {side: 2 * number for side, number in unit.items()} for name, unit in UNITS.items()}
    assert packet["properties"] == PRICED
    assert [json.loads(text)["b64_json"] for text in packet["provider_response_json"]] == ["<not_instrumented>"] * 3


@streams
def test_a_stream_that_is_left_before_its_image_is_estimated(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """By the text of the prompt; how far the image was, nobody tells."""
    instrument()
    provider.script(Reply(events=[PARTIAL, FINISHED], done=False, held=True))
    with client.images.generate(**ASK, stream=True) as stream:
        next(stream)
    packet = body(packets()[0])
    assert packet["units"] == {"text": {"input": 2, "output": 0}}
    assert packet["properties"] == {**PRICED, "payi_otel.end_reason": "closed", "payi_otel.usage_estimated": "input,output"}


def test_a_refused_image_carries_the_status_and_no_units(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """As for any call."""
    instrument()
    provider.script(Reply({"error": {"message": "no", "code": "moderation_blocked"}}, status=400))
    with pytest.raises(openai.BadRequestError):
        client.images.generate(**ASK)
    packet = body(packets()[0])
    assert (packet["units"], packet["http_status_code"]) == ({}, 400)


SVG = {"model": "gpt-5.6", "input_tokens": 30, "output_tokens": 20, "reasoning_tokens": 5, "total_tokens": 50}


def test_who_wrote_an_svg_is_billed_at_its_own_price(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Another model than the image's, so another packet."""
    instrument()
    provider.script(Reply({**ANSWER, "svg_usage": SVG}))
    client.images.generate(**ASK)
    image, written = sorted(packets(2), key=lambda packet: str(packet["body"]["resource"]), reverse=True)
    assert image["body"]["units"] == UNITS
    assert written["body"]["resource"] == "gpt-5.6"
    assert written["body"]["units"] == {"text": {"input": 30, "output": 15}, "reasoning": {"input": 0, "output": 5}}


def test_the_image_tool_of_a_response_is_billed_at_its_own_price(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """The response's own usage does not hold it."""
    instrument()
    made = {**USAGE, "cached_tokens": 30, "cached_tokens_details": {"cached_image_tokens": 25, "cached_text_tokens": 5}}
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    response = {
        **{"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.6", "status": "completed", "output": []},
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
        "usage": usage,
        "tool_usage": {"image_gen": made, "web_search": {"num_requests": 0}},
    }
    provider.script(Reply(response))
    client.responses.create(model="gpt-5.6", input="Draw a cat.")
    said, image = sorted(packets(2), key=lambda packet: len(packet["body"]["resource"]))
    assert said["body"]["units"] == {"text": {"input": 9, "output": 3}}
    assert image["body"] == {
        "category": "system.openai",
        "resource": "gpt-image-2",
        "units": {
            "text": {"input": 5, "output": 0},
            "text_cache_read": {"input": 5, "output": 0},
            "vision_cache_read": {"input": 25, "output": 0},
            "vision": {"input": 15, "output": 0},
            "image": {"input": 0, "output": 272},
        },
        "http_status_code": 200,
        "provider_response_id": "resp_1.image_gen",
        "properties": {"payi_otel.part_of": "resp_1"},
    }


def test_an_image_tool_that_was_not_used_is_no_packet(instrument: Any, client: Any, provider: Any, packets: Any) -> None:
    """Its counts are there, and zero."""
    instrument()
    zero = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}}
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    response = {"id": "resp_1", "object": "response", "model": "gpt-5.6", "status": "completed", "output": [], "usage": usage}
    provider.script(Reply({**response, "tool_usage": {"image_gen": zero, "web_search": {"num_requests": 0}}}))
    client.responses.create(model="gpt-5.6", input="Draw no cat.")
    assert packets()[0]["body"]["units"] == {"text": {"input": 9, "output": 3}}
