"""The Pay-i ingest packet and its three forms on the wire: single request, bulk item, offline record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

_ID: Final = "provider_response_id"
_BESIDE: Final = ("use_case_name", "use_case_id", "use_case_version", "use_case_step", "user_id", "account_name", "resource_scope")
"""What of an offline record stands beside the body elsewhere."""


class _OnlyId(Mapping[str, str]):
    """A body with nothing but the packet's id; a dict of one takes four times as much memory."""

    __slots__ = ("_response_id",)

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id

    def __getitem__(self, name: str) -> str:
        if name != _ID:
            raise KeyError(name)
        return self._response_id

    def __iter__(self) -> Iterator[str]:
        yield _ID

    def __len__(self) -> int:
        return 1


class IngestPacket(msgspec.Struct, frozen=True):
    """One call as Pay-i's ingest takes it.

    `body` has the keys of a single ingest's JSON body; what travels as headers there stands in the fields beside it.
    Source: Pay-i ingest API, `POST /api/v1/ingest` and `/api/v1/ingest/bulk`.
    """

    body: Mapping[str, Any]
    module: str = ""
    """`name/version` of the provider SDK, for `xProxy-Instrumented-Module`."""
    limit_ids: tuple[str, ...] = ()
    use_case_name: str | None = None
    use_case_id: str | None = None
    use_case_version: int | None = None
    use_case_step: str | None = None
    user_id: str | None = None
    account_name: str | None = None
    resource_scope: str | None = None
    logging_disabled: bool = False
    """True: Pay-i is told not to store prompts, and the body holds none. Bulk has no such flag: such a packet goes singly."""

    @property
    def response_id(self) -> str:
        """The provider's id of the answer: what makes a resend the same packet and not a second one."""
        return str(self.body["provider_response_id"])

    def without_body(self, response_id: str) -> IngestPacket:
        """What stands beside the body, with no more of it than the id."""
        return IngestPacket(
            _OnlyId(response_id),
            self.module,
            self.limit_ids,
            self.use_case_name,
            self.use_case_id,
            self.use_case_version,
            self.use_case_step,
            self.user_id,
            self.account_name,
            self.resource_scope,
            self.logging_disabled,
        )

    def scope_fields(self) -> dict[str, Any]:
        """The fields a single ingest sends as headers, by their bulk and offline names, without the empty ones."""
        pairs = {
            "limit_ids": list(self.limit_ids) or None,
            "use_case_name": self.use_case_name,
            "use_case_id": self.use_case_id,
            "use_case_version": self.use_case_version,
            "use_case_step": self.use_case_step,
            "user_id": self.user_id,
            "account_name": self.account_name,
        }
        return {name: value for name, value in pairs.items() if value is not None}

    def to_bulk_item(self) -> dict[str, Any]:
        """One item of a bulk: everything in the body, the resource scope as `scope`."""
        scope = {"scope": self.resource_scope} if self.resource_scope else {}
        return {**self.body, **self.scope_fields(), **scope}

    @classmethod
    def from_offline_record(cls, record: Mapping[str, Any]) -> IngestPacket:
        """The packet that `to_offline_record` wrote.

        Raises:
            ValueError: It is none: what Pay-i needs of a packet is not there.
        """
        missing = [name for name in ("category", "resource", "units", "provider_response_id") if name not in record]
        if missing:
            raise ValueError(f"no {', no '.join(missing)}")
        beside = {name: record[name] for name in _BESIDE if record.get(name) is not None}
        body = {name: value for name, value in record.items() if name not in (*_BESIDE, "limit_ids")}
        return cls(body, limit_ids=tuple(record.get("limit_ids") or ()), **beside)

    def to_offline_record(self) -> dict[str, Any]:
        """One item of an offline file: as in bulk, the resource scope under its own name."""
        scope = {"resource_scope": self.resource_scope} if self.resource_scope else {}
        return {**self.body, **self.scope_fields(), **scope}
