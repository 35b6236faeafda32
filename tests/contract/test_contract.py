"""What holds for every provider: sync and async, plain, streamed and raw; answered, refused, cut and left; logging on and off.

Each call is made twice through the real SDK against a server on loopback, first without the instrumentation: the caller sees the
same, and the second call is one whole packet.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comparing import SCOPE
from provider_server import ProviderServer

from contract import Contract, Form, Outcome, readable

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "providers").glob("*/contract.py"))


def contracts_of(folder: Path) -> tuple[Contract, ...]:
    """A folder's `CONTRACTS`; none where its SDK is not installed."""
    spec = importlib.util.spec_from_file_location(f"contract_of_{folder.name}", folder / "contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except pytest.skip.Exception:  # its SDK is not installed here
        return ()
    contracts: tuple[Contract, ...] = module.CONTRACTS
    return contracts


def cases() -> Iterator[Any]:
    """Every case of every folder."""
    for folder in FOLDERS:
        for contract in contracts_of(folder):
            for form, outcome in contract.cases():
                for is_async in (False, True) if contract.async_client is not None else (False,):
                    for logs in (True, False):
                        words = (folder.name, contract.name, "async" if is_async else "sync", form, outcome, "logged" if logs else "quiet")
                        yield pytest.param(contract, form, outcome, is_async, logs, id="-".join(words))


def seen_by_caller(contract: Contract, url: str, form: Form, outcome: Outcome, *, is_async: bool) -> tuple[Any, str | None]:
    """What the caller gets of a call: its result, or the full name of the exception's type."""
    try:
        if is_async:
            return asyncio.run(seen_async(contract, url, form, outcome)), None
        with contract.client(url) as client:
            return contract.call(client, form, outcome), None
    except Exception as error:
        kind = type(error)
        return None, kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


async def seen_async(contract: Contract, url: str, form: Form, outcome: Outcome) -> Any:
    """The same with the async client."""
    assert contract.async_client is not None
    assert contract.async_call is not None
    async with contract.async_client(url) as client:
        return await contract.async_call(client, form, outcome)


@pytest.mark.parametrize(("contract", "form", "outcome", "is_async", "logs"), list(cases()))
def test_one_call_is_one_packet_and_the_caller_sees_no_difference(
    contract: Contract, form: Form, outcome: Outcome, is_async: bool, logs: bool, provider: ProviderServer, instrument: Any, packets: Any
) -> None:
    """The whole of what is promised of a call."""
    provider.script(contract.reply(form, outcome))
    bare = seen_by_caller(contract, provider.url, form, outcome, is_async=is_async)
    assert (bare[1] is not None) == (outcome in ("error", "cut")), bare
    instrument(dict(contract.configuration), log_prompt_and_response=logs)
    provider.script(contract.reply(form, outcome))
    assert seen_by_caller(contract, provider.url, form, outcome, is_async=is_async) == bare
    assert not any(name.startswith("xproxy-") for request in provider.requests for name in request["headers"])
    (packet,) = packets()
    scope = SCOPE if logs else {**SCOPE, "xproxy-logging-disable": "True"}
    assert (readable(packet, bare[1]), packet["scope"]) == (contract.expected(form, outcome, logs=logs), scope)
