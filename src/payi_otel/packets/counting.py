"""Counting the tokens of a text where the provider did not: with a tokenizer that is at hand, else by length. Run in the worker.

Nothing is ever fetched: tiktoken is asked only for a table that it has loaded, or that lies whole in its cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any

logger = logging.getLogger("payi.instrument")

TokenCounter = Callable[[Iterable[str]], int]
"""Counts the tokens of some texts, all together."""

_CHARS_PER_TOKEN = 4
"""OpenAI's own rule of thumb for English text: https://platform.openai.com/tokenizer"""
_TABLES = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
"""By tiktoken's encoding, the SHA-256 of its table. Source: `tiktoken_ext.openai_public` (0.14)."""
_TABLE_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
"""What tiktoken names the file in its cache by; never opened here."""
_NEWEST = "o200k_base"
_TIKTOKEN_SDKS = frozenset({"openai", "anthropic"})
"""SDKs whose models tiktoken counts: OpenAI's exactly, Claude's, of which no table is published, nearly."""


def by_length(texts: Iterable[str]) -> int:
    """Tokens by the length of the text, never exact."""
    return of_length(sum(len(text) for text in texts))


def of_length(characters: int) -> int:
    """Tokens of so many characters, never exact."""
    return -(-characters // _CHARS_PER_TOKEN)


class TokenCounters:
    """The tokenizers that are at hand, each looked for once, when it is first needed."""

    def __init__(self, tokenizer_paths: Mapping[str, str] | None = None) -> None:
        """Keeps the paths; nothing is loaded.

        Args:
            tokenizer_paths: By Bedrock model id, a file for the `tokenizers` library.
        """
        self._paths = tokenizer_paths or {}
        self._found: dict[str, TokenCounter | None] = {}
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def counter_for(self, sdk: str, model: str | None) -> TokenCounter | None:
        """A tokenizer for a model, or None where none is at hand.

        Args:
            sdk: The provider SDK's distribution, e.g. `botocore`.
            model: The model as it was asked for.
        """
        if sdk in _TIKTOKEN_SDKS:
            return self._once("tiktoken:" + _encoding_of(model), lambda: _tiktoken_counter(_encoding_of(model)))
        path = self._paths.get(model or "")
        return self._once(path, lambda: _file_counter(str(path), str(model))) if path else None

    def _once(self, key: str, load: Callable[[], TokenCounter | None]) -> TokenCounter | None:
        with self._lock:
            if key not in self._found:
                self._found[key] = None
                self._found[key] = load()
            return self._found[key]

    def _after_fork_in_child(self) -> None:
        self._lock = RLock()  # another thread of the parent may have held it


def _encoding_of(model: str | None) -> str:
    """The encoding of an OpenAI model; what is not known is taken for one of the newest."""
    model = model or ""
    return "cl100k_base" if model.startswith(("gpt-3.5", "gpt-35", "text-embedding-")) or _is_gpt_4(model) else _NEWEST


def _is_gpt_4(model: str) -> bool:
    return model == "gpt-4" or model.startswith("gpt-4-")


def _tiktoken_counter(name: str) -> TokenCounter | None:
    try:
        loaded = getattr(sys.modules.get("tiktoken.registry"), "ENCODINGS", {})
        if name not in loaded and not _is_in_cache(name):
            return None
        import tiktoken

        encoding = tiktoken.get_encoding(name)
    except ImportError:
        return None
    except Exception as fault:
        logger.warning("tiktoken's table %s could not be read (%s): tokens of images are not told apart", name, type(fault).__name__)
        return None
    # What stands for a control token in a prompt is text there.
    return lambda texts: sum(len(encoding.encode(text, disallowed_special=())) for text in texts)


def _is_in_cache(name: str) -> bool:
    """Whether tiktoken has the table, whole: it would fetch one that is missing or damaged."""
    directory = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if directory is None:
        directory = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    if not directory:  # its cache is switched off
        return False
    file = Path(directory) / hashlib.sha1(_TABLE_URL.format(name).encode(), usedforsecurity=False).hexdigest()
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == _TABLES[name]
    except OSError:
        return False


def _file_counter(path: str, model: str) -> TokenCounter | None:
    where = f"aws_config.model_config[{model!r}].tokenizer_path"
    try:
        from tokenizers import Tokenizer
    except ImportError:
        logger.warning("%s needs the tokenizers library: `pip install tokenizers`; its tokens are estimated by length", where)
        return None
    if not Path(path).is_file():
        logger.warning("%s: there is no file %s: its tokens are estimated by length", where, path)
        return None
    try:
        tokenizer: Any = Tokenizer.from_file(path)
    except Exception:  # the library raises plain `Exception`
        logger.warning("%s: %s is no file of the tokenizers library (a tokenizer.json): its tokens are estimated by length", where, path)
        return None
    return lambda texts: sum(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts)
