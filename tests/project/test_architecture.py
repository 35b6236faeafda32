"""The layers of docs/architecture.md, and the habits that a reader of the source counts on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from _source import Import, Module, modules
from payi_otel._providers import providers

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
TABLE = PAGE.partition("| path | what it is for |")[2].partition("\n\n")[0]
"""Below it, a folder may be named without saying what is in it."""
OTHERS = "_*"
"""Stands on the page for the private modules at the package's root that it does not name, of which one may import another."""


def layers_of(page: str) -> tuple[frozenset[str], ...]:
    """The lines of the page's block, from the top down; behind four blanks a line says what it is for."""
    block = page.partition("```text\ndistro")[2].partition("```")[0]
    return tuple(frozenset(line.partition("    ")[0].split()) for line in f"distro{block}".splitlines())


LAYERS = layers_of(PAGE)
LAZY = {*(module.partition(".")[0] for facts in providers() for module in facts.modules), "grpc", "rich", "httpx2", "tiktoken"}
HTTP_CLIENT = "httpx"
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 50
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

every_module = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def layer_of(name: str) -> int:
    """How far up a module stands, 0 being the top."""
    component = name.split(".")[0]
    named = next((level for level, layer in enumerate(LAYERS) if component in layer), None)
    if named is not None:
        return named
    assert component.startswith("_"), f"{component} has no place in the layers"
    return LAYERS.index(frozenset({OTHERS}))


def own_imports(module: Module) -> Iterator[tuple[Import, str]]:
    """What a module imports of this package, with the dotted name below `payi_otel`."""
    for item in module.imports:
        root, _, rest = item.target.partition(".")
        if root == "payi_otel":
            yield item, rest or "__init__"


def test_every_layer_holds_something() -> None:
    """A name that stands on the page is a module or a folder at the package's root."""
    roots = {module.name.split(".")[0] for module in modules()}
    assert LAYERS[-1] == {"_guard"}, "the block was read to its end"
    assert set().union(*LAYERS) - {OTHERS} <= roots


@every_module
def test_the_architecture_page_names_it(module: Module) -> None:
    """In its table: by its file, or the folder that it is in."""
    path = module.name.replace(".", "/")
    folders = [f"`{path[: at + 1]}`" for at, character in enumerate(path) if character == "/"]
    if module.path.name == "__init__.py" or re.match(r"instrumentors/[a-z]", path):  # `instrumentors/<provider>/`
        return
    assert any(name in TABLE for name in (f"`{path.rsplit('/')[-1]}.py`", f"`{path}.py`", f"/{path.rsplit('/')[-1]}.py`", *folders))


@every_module
def test_imports_point_down(module: Module) -> None:
    """A module imports from lower layers and from its own component only, in functions too."""
    component, level = module.name.split(".")[0], layer_of(module.name)
    private_peers = OTHERS in LAYERS[level]
    wrong = [
        f"line {item.line} imports {name}"
        for item, name in own_imports(module)
        if name.split(".")[0] != component and not (layer_of(name) > level or (private_peers and layer_of(name) == level))
    ]
    assert not wrong


@every_module
def test_providers_stand_apart(module: Module) -> None:
    """A provider's folder imports nothing of another provider's."""
    parts = module.name.split(".")
    if parts[0] != "instrumentors" or len(parts) < 2 or parts[1].startswith("_"):
        return
    wrong = [name for _, name in own_imports(module) if name.startswith("instrumentors.") and name.split(".")[1] != parts[1]]
    assert all(name.split(".")[1].startswith("_") for name in wrong)


@every_module
def test_heavy_packages_load_late(module: Module) -> None:
    """Provider SDKs, grpc and rich are imported where they are used; httpx may be by a module that itself is."""
    roots = {item.target.split(".")[0] for item in module.imports if item.top_level}
    assert not roots.intersection(LAZY)
    if HTTP_CLIENT in roots:
        target = f"payi_otel.{module.name}"
        assert not [peer.name for peer in modules() for item in peer.imports if item.top_level and item.target == target]


@every_module
def test_modules_and_functions_stay_short(module: Module) -> None:
    """A module has at most 400 lines, a function at most 50."""
    assert module.text.count("\n") <= MAX_MODULE_LINES
    functions = [node for node in ast.walk(module.tree) if isinstance(node, FUNCTIONS)]
    assert not [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES]


@every_module
def test_public_things_say_what_they_are_for(module: Module) -> None:
    """A module has a docstring, and so has every class and function whose name does not begin with an underscore."""
    assert ast.get_docstring(module.tree)
    defined = [node for node in module.tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")]
    assert not [node.name for node in defined if not ast.get_docstring(node) and not is_overload(node)]


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a function only declares a signature; its implementation has the docstring."""
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)


@every_module
def test_only_the_command_prints(module: Module) -> None:
    """A library speaks through its logger."""
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    assert module.name.startswith("cli") or not calls


@every_module
def test_no_state_by_thread(module: Module) -> None:
    """`threading.local` loses a scope at every hand-over; context variables do not."""
    assert not [node for node in ast.walk(module.tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == "threading.local"]
    assert not [node for node in ast.walk(module.tree) if isinstance(node, ast.alias) and node.name == "local"]


@every_module
def test_folders_only_export(module: Module) -> None:
    """An `__init__.py` holds imports and `__all__`, nothing that does something."""
    if module.path.name != "__init__.py":
        return
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign, ast.AnnAssign, ast.If, *FUNCTIONS)
    wrong = [node for node in module.tree.body if not isinstance(node, allowed)]
    functions = [node.name for node in module.tree.body if isinstance(node, FUNCTIONS) and node.name not in ("__getattr__", "__dir__")]
    assert not wrong
    assert not functions
