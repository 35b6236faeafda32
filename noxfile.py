"""One way to run anything: `nox -s <session>`; `nox -l` lists them."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "architecture", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
TEST = nox.project.dependency_groups(PYPROJECT, "test")
OPENAI = [
    nox.param("openai>=3,<4", id="3"),
    nox.param("openai>=2,<3", id="2"),
    nox.param("openai==1.92.0", id="1.92"),
    nox.param("openai==1.66.0", id="1.66"),
]
"""The newest of each major version, the first with `chat.completions.parse`, and the oldest supported."""


@nox.session(python=PYTHONS)
def tests(session):
    """The whole suite against the built wheel, with the newest dependencies."""
    session.install(".[openai]", *TEST)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
def tests_oldest(session):
    """The whole suite on the oldest Python with the oldest supported version of every dependency."""
    session.install(".[openai]", *TEST, "-c", "tests/constraints-oldest.txt")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
@nox.parametrize("openai", OPENAI)
def openai_versions(session, openai):
    """The suite against one version of the OpenAI SDK."""
    session.install(".[openai]", *TEST, openai)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session):
    """Style, names, docstrings and format."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session):
    """Strict types of the package."""
    session.install("-e", ".[openai]", *nox.project.dependency_groups(PYPROJECT, "type"))
    session.run("mypy")


@nox.session
def architecture(session):
    """The layers of docs/architecture.md, the public names and what an import loads."""
    session.install("-e", ".", "pytest", "pytest-asyncio", "pytest-socket")
    session.run("python", "-m", "pytest", *(f"tests/project/test_{name}.py" for name in ("architecture", "exported_members", "imports")))


@nox.session
def demo(session):
    """The `payi-otel demo` command."""
    session.install(".[openai]")
    session.run("payi-otel", "demo", *session.posargs)


@nox.session
def coverage(session):
    """Which lines the suite does not reach."""
    session.install("-e", ".[openai]", *TEST, "coverage[toml]")
    session.run("coverage", "run", "--source", "payi_otel", "-m", "pytest", *session.posargs)
    session.run("coverage", "report", "--show-missing", "--skip-covered")
