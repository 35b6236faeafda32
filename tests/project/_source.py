"""The package's source as the architecture tests read it: modules, and what each imports and when."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "payi_otel"


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is the dotted module, with the name taken from it where that is a module of ours."""

    target: str
    line: int
    top_level: bool
    """Whether it runs when the module is imported."""


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """The dotted name below `payi_otel`; the package itself is `__init__`."""
        parts = self.path.relative_to(PACKAGE).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    @cached_property
    def text(self) -> str:
        """The source."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.text)

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import but those for type checkers only."""
        return tuple(_imports(self.tree.body, top_level=True))


def modules() -> list[Module]:
    """Every module of the package."""
    return [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def _imports(body: list[ast.stmt], *, top_level: bool) -> Iterator[Import]:
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _imports(statement.orelse, top_level=top_level)
            continue
        if isinstance(statement, ast.Import):
            yield from (Import(alias.name, statement.lineno, top_level) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"line {statement.lineno}: imports are absolute"
            for alias in statement.names:
                yield Import(_target(statement.module or "", alias.name), statement.lineno, top_level)
        inner_level = top_level and not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _imports([child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)], top_level=inner_level)
        for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _imports(handler.body, top_level=inner_level)


def _target(module: str, name: str) -> str:
    """`from payi_otel.context import scope` imports the module `payi_otel.context.scope`; other names are a module's contents."""
    if module.partition(".")[0] == "payi_otel":
        folder = PACKAGE.joinpath(*module.split(".")[1:])
        if (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists():
            return f"{module}.{name}"
    return module
