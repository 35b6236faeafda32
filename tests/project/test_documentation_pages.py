"""The pages hang together: each is in the navigation or waits there, links and anchors lead somewhere, log lines are the code's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from _blocks import blocks_of
from provider_pages import slug

import payi_otel
from _source import ROOT, modules
from payi_otel.config import FILE_VARIABLE, describe

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAVIGATION = (ROOT / "mkdocs.yml").read_text()
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)


def in_navigation() -> set[str]:
    """The pages that mkdocs.yml names."""

    def walk(node: object) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        elif isinstance(node, dict):
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return set(walk(yaml.safe_load(NAVIGATION)["nav"]))


def test_every_page_is_in_the_navigation() -> None:
    """A page that was just written has its line in mkdocs.yml already, commented out; a provider's may be reached from the table of all."""
    named = in_navigation()
    assert [page for page in named if not (DOCS / page).exists()] == []
    from_table = {f"providers/{link}" for link in links_of(DOCS / "providers" / "index.md")}
    there = {page.relative_to(DOCS).as_posix() for page in PAGES}
    assert there - named - from_table == set(), "take the page's line in mkdocs.yml out of its comment, or add one"


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """Of its headings, as the site makes them."""
    text = _FENCED.sub("", page.read_text())
    return frozenset(slug(re.sub(r"[`*]", "", heading)) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE))


def links_of(page: Path) -> list[str]:
    """Targets within the repository."""
    text = re.sub(r"`[^`\n]*`", "", _FENCED.sub("", page.read_text()))
    return [target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """To a page, a picture or a heading of docs/; what is elsewhere in the repository is not on the site, and is named instead."""
    for target in links_of(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        assert file.is_relative_to(DOCS), target
        assert not anchor or anchor in anchors_of(file), target


def test_front_pages_lead_to_pages() -> None:
    """Their anchors, too."""
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in links_of(ROOT / name):
            path, _, anchor = target.partition("#")
            assert not anchor or anchor in anchors_of((ROOT / path).resolve() if path else ROOT / name), target


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No fonts, scripts or pictures of other hosts, and no plugin that has any."""
    settings = yaml.safe_load(NAVIGATION)
    assert settings["theme"]["font"] is False
    assert settings["plugins"] == ["search"]
    assert not {"extra_javascript", "extra_css", "hooks"} & {*settings}
    for page in PAGES:
        assert not re.search(r"!\[[^\]]*\]\(https?:|<(?:script|link|iframe|img)\b", page.read_text()), page
        assert "```mermaid" not in page.read_text(), "Material loads Mermaid from elsewhere"


@pytest.mark.parametrize("picture", sorted(DOCS.rglob("*.svg")), ids=lambda picture: picture.name)
def test_pictures_stand_alone(picture: Path) -> None:
    """Well-formed, and nothing in them is loaded or run."""
    names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(picture).iter()}
    assert not names & {"script", "image", "foreignObject"}
    assert "@import" not in picture.read_text()


def test_the_picture_of_the_flow_is_for_everyone() -> None:
    """Readable in dark mode, and told in words to whoever does not see it; the page that explains it shows it."""
    text = (DOCS / "flow.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "<title" in text
    assert "<desc" in text
    assert "](flow.svg)" in (DOCS / "architecture.md").read_text()


def test_variables_are_those_of_settings() -> None:
    """One that is misspelt has no effect, and whoever copies it would not see that."""
    there = {row.variable for row in describe()} | {FILE_VARIABLE}
    for page in (*PAGES, ROOT / "README.md", ROOT / "examples" / "README.md"):
        named = set(re.findall(r"PAYI_OTEL_[A-Z_]*[A-Z]", page.read_text()))
        assert named <= there, page


def test_properties_are_those_of_packets() -> None:
    """What a page says a packet tells is a text of the code."""
    code = "".join(module.text for module in modules())
    for page in PAGES:
        for name in set(re.findall(r"`(payi_otel\.[a-z]+_[a-z_]+)[`:]", page.read_text())):
            assert f'"{name}"' in code or hasattr(payi_otel, name.partition(".")[2]), f"{page.name}: {name}"


@cache
def said_in_code() -> re.Pattern[str]:
    """Any text of the package, whatever stands in its places."""
    texts = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "%s" for part in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    lines = {
        re.sub(r"%[-\d.]*[a-z]", ".+?", re.escape(text)) for text in texts if len(re.sub("%[a-z]", "", text)) > 12 and "\n" not in text
    }
    return re.compile("|".join(sorted(lines)))


def test_log_lines_are_those_of_the_code() -> None:
    """What the page about troubles shows is what a reader finds in his log."""
    page = DOCS / "troubleshooting.md"
    shown = [line for block in blocks_of(page) if block.language == "text" for line in block.text.splitlines()]
    assert shown
    assert [line for line in shown if not said_in_code().fullmatch(line)] == []


def test_a_line_that_nobody_says_is_seen() -> None:
    """The pattern does not take everything."""
    assert not said_in_code().fullmatch("packet chatcmpl-123 went astray: refused for good (http_422)")
