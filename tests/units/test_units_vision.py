"""Images told apart from text, by tokenizers that are at hand, and tokenizers of the user's own; real SDKs, real tokenizer files."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import ProviderServer, Reply

from payi_otel.packets.counting import TokenCounters

tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")
openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
boto3 = pytest.importorskip("boto3")

IMAGE = "data:image/png;base64," + "iVBORw0K" * 40
FOUR_WORDS = "aa bb cc dd"
"""Four tokens by every tokenizer below."""
CHAT_IMAGE = {"role": "user", "content": [{"type": "text", "text": FOUR_WORDS}, {"type": "image_url", "image_url": {"url": IMAGE}}]}
CLAUDE_IMAGE = {
    "role": "user",
    "content": [
        {"type": "text", "text": FOUR_WORDS},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K" * 40}},
    ],
}
SYSTEM = {"role": "system", "content": FOUR_WORDS}
TURN = {"role": "user", "content": FOUR_WORDS}


@pytest.fixture
def small_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that the application has loaded into tiktoken: a word is a token."""
    letters = {bytes([code]): code for code in range(256)}
    words = {word: 256 + rank for rank, word in enumerate((b"aa", b"bb", b"cc", b"dd", b" bb", b" cc", b" dd"))}
    encoding = tiktoken.Encoding(
        "o200k_base", pat_str=r" ?\w+|\W+", mergeable_ranks={**letters, **words}, special_tokens={"<|endoftext|>": 300}
    )
    assert len(encoding.encode(FOUR_WORDS)) == 4
    monkeypatch.setitem(sys.modules["tiktoken.registry"].ENCODINGS, "o200k_base", encoding)


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A real file of the tokenizers library: a word is a token."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def completion(provider: ProviderServer, messages: list[Any], usage: dict[str, Any], model: str = "gpt-5.2") -> None:
    """One call of chat completions."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
    provider.script(Reply({"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}))
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        client.chat.completions.create(model=model, messages=messages)


def message(provider: ProviderServer, messages: list[Any], **usage: Any) -> None:
    """One call of Claude's messages, streamed, with the input counted again at its end."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5", "content": []}
    total = {"input_tokens": usage["input_tokens"], "output_tokens": 2}
    events = [
        {"type": "message_start", "message": {**head, "usage": {**usage, "output_tokens": 1}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": total},
        {"type": "message_stop"},
    ]
    provider.script(Reply(events=events, done=False))
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        assert len(list(client.messages.create(model="claude-opus-5", max_tokens=9, messages=messages, stream=True))) == 3


def units_of(packet: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Units and properties of a packet."""
    assert packet["scope"] == SCOPE
    return packet["body"]["units"], packet["body"].get("properties", {})


USAGE = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}


@pytest.mark.usefixtures("small_table")
def test_text_of_messages_without_images_is_text(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """All text of the prompt is text, not only what stands in one message with the image."""
    instrument()
    completion(provider, [SYSTEM, TURN, CHAT_IMAGE], USAGE)
    units = {"text": {"input": 12, "output": 2}, "vision": {"input": 88, "output": 0}}
    assert units_of(packets()[0]) == (units, {"payi_otel.usage_estimated": "vision"})


@pytest.mark.usefixtures("small_table")
def test_claudes_totals_hold_after_the_split(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """The stream's end repeats the input's count: it does not undo the split."""
    instrument()
    message(provider, [TURN, CLAUDE_IMAGE], input_tokens=100)
    units = {"text": {"input": 8, "output": 2}, "vision": {"input": 92, "output": 0}}
    assert units_of(packets()[0]) == (units, {"payi_otel.usage_estimated": "vision"})


@pytest.mark.usefixtures("small_table")
def test_without_an_image_nothing_is_split(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """However many tokens the provider counts."""
    instrument()
    completion(provider, [SYSTEM, TURN], USAGE)
    assert units_of(packets()[0]) == ({"text": {"input": 100, "output": 2}}, {})


@pytest.mark.usefixtures("small_table")
def test_image_tokens_that_the_provider_tells_are_not_estimated(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """The provider's own numbers are exact."""
    instrument()
    completion(provider, [CHAT_IMAGE], {**USAGE, "prompt_tokens_details": {"image_tokens": 90}})
    assert units_of(packets()[0]) == ({"text": {"input": 10, "output": 2}, "vision": {"input": 90, "output": 0}}, {})


@pytest.mark.usefixtures("small_table")
def test_text_from_a_cache_is_never_taken_for_an_image(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """What is fresh may be less than all text: then nothing is left for an image."""
    instrument()
    message(provider, [TURN, CLAUDE_IMAGE], input_tokens=3, cache_read_input_tokens=97)
    assert units_of(packets()[0])[0] == {"text": {"input": 3, "output": 2}, "text_cache_read": {"input": 97, "output": 0}}


@pytest.mark.usefixtures("small_table")
@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")  # the SDK's, of the models that have such a price
def test_a_long_prompts_images_have_its_price(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """The split is one of the long prompt's units."""
    model = "claude-sonnet-4-5"
    instrument()
    answer = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": "end_turn"}
    provider.script(Reply({**answer, "usage": {"input_tokens": 200_004, "output_tokens": 2}}))
    with anthropic.Anthropic(api_key="k", base_url=provider.url, max_retries=0) as client:
        client.messages.create(model=model, max_tokens=9, messages=[CLAUDE_IMAGE])
    expected = {"text_large_context": {"input": 4, "output": 2}, "vision_large_context": {"input": 200_000, "output": 0}}
    assert units_of(packets()[0])[0] == expected


@pytest.mark.usefixtures("small_table")
def test_control_tokens_in_a_prompt_are_text(instrument: Any, provider: ProviderServer, packets: Any) -> None:
    """Which tiktoken refuses to encode unless it is told."""
    instrument()
    completion(provider, [{"role": "user", "content": "<|endoftext|>"}, CHAT_IMAGE], USAGE)
    units, _ = units_of(packets()[0])
    assert units["text"]["input"] + units["vision"]["input"] == 100
    assert units["text"]["input"] > 5


RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5.2", "status": "completed", "output": [], "tools": []}
SEEN = {"type": "input_text", "text": FOUR_WORDS}
TOOL = {"type": "function", "name": "f", "parameters": {}, "strict": False}


@pytest.mark.usefixtures("small_table")
@pytest.mark.parametrize(
    ("asked", "is_split"),
    [
        ({}, True),
        ({"tools": [TOOL, {"type": "custom", "name": "g"}]}, True),
        ({"previous_response_id": None}, True),
        ({"previous_response_id": "resp_0"}, False),
        ({"conversation": "conv_1"}, False),
        ({"prompt": {"id": "pmpt_1"}}, False),
        ({"tools": [TOOL, {"type": "web_search"}]}, False),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, False),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, False),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, False),
    ],
    ids=str,
)
def test_text_that_the_provider_adds_is_not_taken_for_an_image(
    instrument: Any, provider: ProviderServer, packets: Any, asked: dict[str, Any], is_split: bool
) -> None:
    """Earlier turns, a stored prompt, files, what its own tools find: nobody here can count it."""
    instrument()
    provider.script(Reply({**RESPONSE, "usage": {"input_tokens": 5000, "output_tokens": 2, "total_tokens": 5002}}))
    said = [{"role": "user", "content": [SEEN, {"type": "input_image", "image_url": IMAGE}]}, *asked.get("input", ())]
    with openai.OpenAI(api_key="k", base_url=provider.url + "/v1", max_retries=0) as client:
        client.responses.create(**{"model": "gpt-5.2", **asked, "input": said})
    units, properties = units_of(packets()[0])
    assert (units["text"]["input"] < 5000, "vision" in units) == (is_split, is_split)
    assert properties == ({"payi_otel.usage_estimated": "vision"} if is_split else {})


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """tiktoken's cache, empty; whoever opens an address fails the test."""
    fetched: list[str] = []
    monkeypatch.setattr("tiktoken.load.read_file", lambda path: fetched.append(path) or b"")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(sys.modules["tiktoken.registry"], "ENCODINGS", {})
    yield tmp_path
    assert fetched == []


@pytest.mark.parametrize("damaged", [False, True])
def test_no_table_is_ever_fetched(instrument: Any, provider: ProviderServer, packets: Any, cache: Path, damaged: bool) -> None:
    """Where tiktoken would fetch one, missing or damaged, the images stay in the text, as the provider counts them."""
    address = b"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
    file = cache / hashlib.sha1(address).hexdigest()
    if damaged:
        file.write_bytes(b"aGVsbG8= 0\n")
    instrument()
    completion(provider, [CHAT_IMAGE], USAGE)
    assert units_of(packets()[0]) == ({"text": {"input": 100, "output": 2}}, {})
    assert file.exists() == damaged, "tiktoken's cache is the application's"


def test_responses_and_tool_results_may_hold_images() -> None:
    """Wherever an image stands."""
    from payi_otel.instrumentors.openai._content import OpenAIContent

    shot = {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "image_url": IMAGE}}
    inside = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": IMAGE}]}
    said = {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}
    content = OpenAIContent(None, [], streamed=False)
    assert [content.has_image({"input": [item]}) for item in (shot, inside, said)] == [True, True, True]
    assert not content.has_image({"input": [{"role": "user", "content": [{"type": "input_text", "text": "image_url"}]}]})


def embed(provider: ProviderServer) -> None:
    """A Bedrock model that tells no usage."""
    provider.script(Reply({"answer": "aa bb"}))
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("bedrock-runtime", endpoint_url=provider.url, **keys)
    client.invoke_model(modelId="my.model-v1", body=json.dumps({"prompt": FOUR_WORDS}))["body"].read()
    client.close()


def test_a_models_own_tokenizer_counts_what_bedrock_does_not(
    instrument: Any, provider: ProviderServer, packets: Any, tokenizer_file: Path
) -> None:
    """`model_config` names its file."""
    instrument({"aws_config": {"model_config": {"my.model-v1": {"tokenizer_path": str(tokenizer_file)}}}})
    embed(provider)
    assert units_of(packets()[0]) == ({"text": {"input": 4, "output": 0}}, {"payi_otel.usage_estimated": "input,output"})


def test_bedrocks_images_are_told_apart_by_a_models_own_tokenizer(
    instrument: Any, provider: ProviderServer, packets: Any, tokenizer_file: Path
) -> None:
    """Converse counts them as text."""
    instrument({"aws_config": {"model_config": {"my.model-v1": {"tokenizer_path": str(tokenizer_file)}}}})
    output = {"message": {"role": "assistant", "content": [{"text": "Hi."}]}}
    provider.script(Reply({"output": output, "stopReason": "end_turn", "usage": {"inputTokens": 100, "outputTokens": 2}, "metrics": {}}))
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("bedrock-runtime", endpoint_url=provider.url, **keys)
    picture = {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}
    client.converse(modelId="my.model-v1", messages=[{"role": "user", "content": [{"text": FOUR_WORDS}, picture]}])
    client.close()
    units = {"text": {"input": 4, "output": 2}, "vision": {"input": 96, "output": 0}}
    assert units_of(packets()[0]) == (units, {"payi_otel.usage_estimated": "vision"})


@pytest.mark.parametrize("broken", ["library", "missing", "bad"])
def test_a_tokenizer_that_cannot_be_had_is_one_warning(
    instrument: Any,
    provider: ProviderServer,
    packets: Any,
    tokenizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: str,
) -> None:
    """It says what to install or to mend, and the packets go, estimated by length."""
    where = "aws_config.model_config['my.model-v1'].tokenizer_path: "
    if broken == "library":
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        expected = where.replace(": ", " needs the tokenizers library: `pip install tokenizers`; its tokens are estimated by length")
    elif broken == "missing":
        tokenizer_file.unlink()
        expected = where + f"there is no file {tokenizer_file}: its tokens are estimated by length"
    else:
        tokenizer_file.write_text("{}")
        expected = where + f"{tokenizer_file} is no file of the tokenizers library (a tokenizer.json): its tokens are estimated by length"
    instrument({"aws_config": {"model_config": {"my.model-v1": {"tokenizer_path": str(tokenizer_file)}}}})
    embed(provider)
    embed(provider)
    for packet in packets(2):
        assert units_of(packet)[0] == {"text": {"input": 3, "output": 0}}
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [expected]


def test_a_tokenizer_is_loaded_once_and_not_before_it_is_needed(tokenizer_file: Path) -> None:
    """Whatever asks for it, and only then."""
    counters = TokenCounters({"my.model-v1": str(tokenizer_file)})
    first = counters.counter_for("botocore", "my.model-v1")
    assert first is not None
    assert first([FOUR_WORDS, "aa"]) == 5
    tokenizer_file.unlink()
    assert counters.counter_for("aiobotocore", "my.model-v1") is first
    assert counters.counter_for("botocore", "another") is None
