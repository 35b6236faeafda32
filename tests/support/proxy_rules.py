"""What Pay-i's proxy takes: the headers of a request that is to be forwarded, read into a scope, and AWS's signature of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

Headers = Sequence[tuple[str, str]]
"""As they came: names in the caller's case, repeated where they were."""

PROVIDERS = ("openai/v1", "anthropic", "azure.openai", "azure.anthropic", "aws.bedrock")
"""What stands behind `/api/v1/proxy/`."""
PUBLIC = {"openai/v1": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}
"""Where a request goes that does not say so, by provider."""
_ORIGIN_ONLY = ("azure.openai", "aws.bedrock")
"""Their paths are forwarded whole."""
KEY, BASE_URI = "xproxy-api-key", "xproxy-provider-baseuri"
CREDENTIALS = ("authorization", "api-key", "x-api-key", "x-amz-security-token", "x-goog-api-key")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MAX_INT32 = 2_147_483_647


def _text(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise ValueError("must be visible ASCII, and not empty")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ -")
    return value


def _ids(value: str) -> list[str]:
    ids = _text(value).split(",")
    if any(not one or one != one.strip() for one in ids) or len({*ids}) < len(ids):
        raise ValueError("must be different ids with commas and nothing else between them")
    return ids


def _version(value: str) -> int:
    if not re.fullmatch(r"[0-9]+", value) or int(value) > _MAX_INT32:
        raise ValueError("must be an integer that is not negative")
    return int(value)


def _properties(value: str) -> dict[str, str | None]:
    text = base64.b64decode(value, validate=True).decode()
    read = json.loads(text)
    if not isinstance(read, dict) or not all(one is None or isinstance(one, str) for one in read.values()):
        raise ValueError("must be an object of texts and nulls")
    if text not in [json.dumps(read, separators=(",", ":"), ensure_ascii=ascii_only) for ascii_only in (True, False)]:
        raise ValueError("must be compact JSON")
    return read


def _switched_off(value: str) -> bool:
    if value != "True":
        raise ValueError("must be True")
    return False


SCOPE: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "xproxy-limit-ids": ("limit_ids", _ids),
    "xproxy-user-id": ("user_id", _text),
    "xproxy-account-name": ("account_name", _text),
    "xproxy-usecase-name": ("use_case_name", _name),
    "xproxy-usecase-id": ("use_case_id", _text),
    "xproxy-usecase-version": ("use_case_version", _version),
    "xproxy-usecase-step": ("use_case_step", _text),
    "xproxy-usecase-properties": ("use_case_properties", _properties),
    "xproxy-request-properties": ("request_properties", _properties),
    "xproxy-resource-scope": ("resource_scope", _text),
    "xproxy-priceas-category": ("price_as_category", _text),
    "xproxy-priceas-resource": ("price_as_resource", _text),
    "xproxy-logging-disable": ("log_prompt_and_response", _switched_off),
}
"""By header, the field of the scope and its reader, which raises ValueError."""


def read_scope(headers: Headers) -> tuple[dict[str, Any], list[str]]:
    """The scope that the headers say, and what is wrong with them; the key and the base URI are looked at elsewhere."""
    scope: dict[str, Any] = {}
    problems = [f"{name} stands there {count} times" for name, count in Counter(_ours(headers)).items() if count > 1]
    for name, value in headers:
        lower = name.lower()
        if lower == "baggage":
            problems.append("baggage is sent along")
        if not lower.startswith("xproxy-") or lower in (KEY, BASE_URI):
            continue
        if lower not in SCOPE:
            problems.append(f"{lower} is unknown")
            continue
        field, read = SCOPE[lower]
        try:
            scope[field] = read(value)
        except ValueError as error:
            problems.append(f"{lower} is {value!r}: {error}")
    return scope, problems


def _ours(headers: Headers) -> list[str]:
    return [name.lower() for name, _ in headers if name.lower().startswith("xproxy-")]


def check_base_uri(provider: str, base_uri: str | None, own_url: str, hosts: Collection[str]) -> str | None:
    """What is wrong with the address to forward to.

    Args:
        provider: One of `PROVIDERS`.
        base_uri: What the header says.
        own_url: The proxy's.
        hosts: The hosts, with their schemes, that stand for something beside those on loopback.
    """
    base = PUBLIC.get(provider) if base_uri is None else base_uri
    parts = urlsplit(base or "")
    origin = f"{parts.scheme}://{parts.netloc}"
    is_known = origin in hosts or (parts.scheme == "http" and parts.hostname == "127.0.0.1")
    if base_uri is None:
        return None if is_known else f"{BASE_URI} is missing"
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or base_uri.endswith("/"):
        return f"{BASE_URI} is {base_uri!r}: must be an http(s) URL without a slash at its end"
    if provider in _ORIGIN_ONLY and parts.path:
        return f"{BASE_URI} is {base_uri!r}: must have no path, the request's is forwarded whole"
    return f"{BASE_URI} is {base_uri!r}: there is nobody" if not is_known or origin == own_url else None


_SIGNATURE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


def check_signature(method: str, urls: tuple[str, str], headers: Headers, body: bytes, secrets: Mapping[str, str]) -> str | None:
    """What is wrong with AWS's signature of a request; a bearer token in its place is taken.

    Args:
        method: The HTTP method.
        urls: Where the request goes, and where it came in, both as on the wire.
        headers: Those that are forwarded.
        body: What it was made of.
        secrets: By access key id.
    """
    given = {name.lower(): value for name, value in headers}
    authorization = given.get("authorization", "")
    if authorization.startswith("Bearer "):
        return None
    match = _SIGNATURE.fullmatch(authorization)
    if match is None:
        return f"the request is not signed: {authorization[:20]!r}"
    if match["key"] not in secrets:
        return f"{match['key']} is nobody's access key"
    missing = {*match["names"].split(";")} - {"host", *given}
    if missing or "host" not in match["names"].split(";"):
        return f"the signed headers are {match['names']}, and the provider does not get {sorted(missing) or 'any host among them'}"
    hashed = given.get("x-amz-content-sha256")
    if hashed not in (None, "UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        return "the body is not the one that was signed"
    if _sign(method, urls[0], given, body, match, secrets) == match["signature"]:
        return None
    if _sign(method, urls[1], given, body, match, secrets) == match["signature"]:
        return "the request is signed for the proxy's host and path"
    return "the signature does not match the request"


def _sign(method: str, url: str, given: Mapping[str, str], body: bytes, match: re.Match[str], secrets: Mapping[str, str]) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signed = {name: given[name] for name in match["names"].split(";") if name != "host"}
    request = AWSRequest(method=method, url=url, data=body, headers=signed)
    request.context["timestamp"] = given.get("x-amz-date", "")
    auth = SigV4Auth(Credentials(match["key"], secrets[match["key"]]), match["service"], match["region"])
    signature: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return signature
