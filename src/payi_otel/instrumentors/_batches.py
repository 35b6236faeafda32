"""A batch's results: calls that the provider made on its own time, each one packet when its result is first read.

They have no span: nothing of them happens in this process. What failed, expired or was cancelled costs nothing and makes no packet.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from threading import Lock

from payi_otel.context.scope import Scope
from payi_otel.instrumentors._invocation import Answer, ClientFacts
from payi_otel.payload import ContentReader, Payload

TIER = "batch"
"""The service tier of all of them."""
_MAX_REMEMBERED = 100_000
"""Results that are known to be billed, a few MB; a batch has up to 100,000, and a result that is read again is mostly read soon."""


class BilledResults:
    """Which results have been billed by this process: a batch may be read more than once."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def is_first(self, result_id: str | None) -> bool:
        """True the first time; always where a result has no id."""
        if not result_id:
            return True
        with self._lock:
            if result_id in self._ids:
                return False
            self._ids[result_id] = None
            if len(self._ids) > _MAX_REMEMBERED:
                self._ids.popitem(last=False)
            return True

    def forget(self) -> None:
        """Knows nothing again."""
        with self._lock:
            self._ids.clear()

    def _after_fork_in_child(self) -> None:
        self._lock = Lock()  # another thread of the parent may have held it


def to_payload(
    client: ClientFacts, module: str, scope: Scope, answer: Answer, content: ContentReader, *, made_at_s: int | None = None
) -> Payload:
    """The payload of one result.

    Args:
        client: The client that reads it.
        module: `name/version` of the SDK.
        scope: The scope it is read in: whose call it was, the result does not say.
        answer: The result, read by its provider's reader.
        content: The worker's view of it.
        made_at_s: When the provider made it, seconds since the epoch; None where it does not say: now.
    """
    return Payload(
        scope=scope,
        category=client.category,
        module=module,
        model=client.deployment or answer.model,
        resource_prefix=client.resource_prefix,
        host=f"{client.host}:{client.port}" if client.port and client.host else client.host,
        provider_uri=client.uri,
        started_at_ns=time.time_ns() if made_at_s is None else made_at_s * 1_000_000_000,
        http_status=200,
        response_id=answer.response_id,
        response_model=answer.model,
        usage=answer.usage,
        service_tier=TIER,
        resource_scope=answer.resource_scope,
        properties=dict(answer.properties),
        content=content,
    )
