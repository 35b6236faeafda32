"""One way to run anything: `nox -s <session>`; `nox -l` lists them."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "architecture", "tests"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
TEST = nox.project.dependency_groups(PYPROJECT, "test")
OLDEST = nox.project.dependency_groups(PYPROJECT, "test-oldest")
PROVIDERS = runpy.run_path("src/payi_otel/_providers.py")["providers"]()
"""What each provider's folder says of itself."""
OWN_TESTS = {one.folder: one.tests for one in PROVIDERS}
OLDEST_EXTRAS = ",".join(one.extra for one in PROVIDERS if one.oldest)
OLDEST_SDKS = [pin for one in PROVIDERS for pin in one.oldest]
FRAMEWORKS = {
    "langchain": (
        "langchain langchain-openai langchain-anthropic langchain-google-genai langchain-aws openinference-instrumentation-langchain "
        "opentelemetry-instrumentation-langchain opentelemetry-instrumentation-genai-langchain>=1.3b0"
    ),
    "llamaindex": (
        "llama-index-core llama-index-llms-openai llama-index-llms-anthropic llama-index-embeddings-openai llama-index-llms-google-genai "
        "openinference-instrumentation-llama-index anthropic[bedrock,vertex]<1"
    ),
    "litellm": "litellm boto3",
    "pydantic_ai": "pydantic-ai-slim[openai,anthropic,google,bedrock] logfire",
    "crewai": "crewai[anthropic] openinference-instrumentation-crewai",
}
"""By the name of its tests, what a framework and instrumentations of it are installed by; they exclude one another."""
FOREIGN = nox.project.dependency_groups(PYPROJECT, "foreign")
SPREAD = ("-n", "auto", "--dist", "worksteal")
"""A whole suite goes over every core."""
BARE = ("pytest", "pytest-asyncio", "pytest-socket", "hypothesis")


@nox.session(python=PYTHONS)
def tests(session):
    """The whole suite against the built wheel, with the newest dependencies."""
    session.install(".[all]", *TEST)
    session.run("python", "-m", "pytest", *SPREAD, *session.posargs)


@nox.session(python=PYTHONS[0])
def tests_oldest(session):
    """The suite on the oldest Python with the oldest supported version of every dependency that can stand beside the others."""
    session.install(f".[{OLDEST_EXTRAS}]", *OLDEST, *OLDEST_SDKS, "-c", "tests/constraints-oldest.txt")
    session.run("python", "-m", "pytest", *SPREAD, *session.posargs)


@nox.session
@nox.parametrize(["provider", "sdk"], [nox.param(one.folder, sdk, id=sdk) for one in PROVIDERS for sdk in one.versions])
def sdk_versions(session, provider, sdk):
    """One version of a provider's SDK without those of others: the paths that are wrapped, the contract, and the provider's own tests."""
    session.install(".", *BARE, *sdk.split())
    paths = ("tests/project/test_wrap_paths.py", "tests/project/test_load_order.py", "tests/contract", *OWN_TESTS[provider])
    session.run("python", "-m", "pytest", *paths, *session.posargs)


@nox.session
def foreign(session):
    """Beside the other GenAI and HTTP instrumentations: what each records, who bills it, and what reaches a provider."""
    session.install(".[openai]", *FOREIGN)
    session.run("python", "-m", "pytest", "tests/foreign/test_coexistence.py", "tests/foreign/test_baggage_leaks.py", *session.posargs)
    session.run("python", "-m", "pytest", "tests/launcher", "-k", "own_distro or declarative", *session.posargs)


@nox.session
@nox.parametrize("framework", list(FRAMEWORKS), ids=list(FRAMEWORKS))
def frameworks(session, framework):
    """A framework on top, alone: each request is one whole packet, and its own telemetry makes no second one."""
    session.install(".", *BARE, "certifi", *FRAMEWORKS[framework].split())
    paths = [f"tests/frameworks/test_{framework}.py", "tests/frameworks/test_frameworks_docs.py"]
    if framework == "litellm":  # which has an instrumentor of ours, and so a contract
        paths.append("tests/contract/test_contract.py")
    quiet = ("-p", "no:unraisableexception")  # frameworks leave sockets to the collector
    session.run("python", "-m", "pytest", *quiet, *paths, *session.posargs)


@nox.session
def lint(session):
    """Style, names, docstrings and format; and the workflows, by their schema and for what makes them unsafe."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    workflows = sorted(map(str, Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")
    session.run("zizmor", "--offline", "--quiet", ".github")


@nox.session
def types(session):
    """Strict types of the package."""
    session.install("-e", ".[openai]", *nox.project.dependency_groups(PYPROJECT, "type"))
    session.run("mypy")


@nox.session
def docs(session):
    """The documentation as a site, in build/site: every link and anchor leads somewhere, and no page loads anything from elsewhere."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
    loads = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>")
    foreign = {load for page in Path("build", "site").rglob("*.html") for load in loads.findall(page.read_text("utf-8"))}
    if foreign:
        session.error(f"pages load from elsewhere: {', '.join(sorted(foreign))}")


@nox.session
def architecture(session):
    """The layers of docs/architecture.md, the public names and what an import loads."""
    session.install("-e", ".", "pytest", "pytest-asyncio", "pytest-socket")
    session.run("python", "-m", "pytest", *(f"tests/project/test_{name}.py" for name in ("architecture", "exported_members", "imports")))


@nox.session
def browser(session):
    """The report in a real browser; Debian's package `chromium`, or another Chromium, must be there."""
    session.install(".", *nox.project.dependency_groups(PYPROJECT, "browser"))
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs)


@nox.session
def screenshots(session):
    """The pictures of the report in docs, drawn anew."""
    session.install(".", *nox.project.dependency_groups(PYPROJECT, "browser"))
    session.run("python", "tests/browser/screenshots.py")


@nox.session
def build(session):
    """Both distributions, each wheel from its sdist, into dist/ or the folder given: the same bytes whenever and wherever."""
    session.install("build>=1.3")
    _build(session, session.posargs[0] if session.posargs else "dist")


@nox.session
def package(session):
    """The distributions as users get them, built now or taken from the folder given: installed alone, typed, licensed, all there."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "package"))
    built = Path(session.create_tmp()) / "dist"
    shutil.rmtree(built, ignore_errors=True)
    folder = Path(session.posargs[0] if session.posargs else _build(session, str(built))).absolute()
    files = sorted(map(str, folder.glob("*.whl"))) + sorted(map(str, folder.glob("*.tar.gz")))
    session.run("twine", "check", "--strict", *files)
    alone = _environment(session, "alone", *folder.glob("payi_otel-*.whl"))
    bill = _bill(session, alone, f"{session.create_tmp()}/payi-otel.cdx.json")
    env = {
        "DISTRIBUTIONS": str(folder),
        "ALONE": alone,
        "WITH_COMPAT": _environment(session, "with_compat", "--no-compile", *folder.glob("*.whl")),
        "BILL_OF_MATERIALS": bill,
    }
    session.run("python", "-m", "pytest", "--confcutdir", "tests/package", "tests/package", env=env)


@nox.session
def sbom(session):
    """The bill of materials of the wheel in dist/ or the folder given (CycloneDX): what an installation of today brings."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "package"))
    folder = Path(session.posargs[0] if session.posargs else "dist")
    _bill(session, _environment(session, "alone", *folder.glob("payi_otel-*.whl")), "payi-otel.cdx.json")


@nox.session
def changes(session):
    """What the fragments make of CHANGELOG.md; with a version, moves them into it: `nox -s changes -- 0.2.0`."""
    session.install("towncrier>=25.8")
    wanted = ("--yes", "--version", *session.posargs) if session.posargs else ("--draft", "--version", "Unreleased")
    session.run("towncrier", "build", *wanted)


def _build(session, folder):
    for project in (".", "compat"):
        session.run("python", "-m", "build", "--outdir", folder, project, silent=True)
    return folder


def _environment(session, name, *what):
    """The Python of a new environment with these wheels (and how pip is to install them), what they require, and nothing else."""
    home = Path(session.create_tmp()).absolute() / name
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(home))
    python = str(home / "bin" / "python")
    session.run("python", "-m", "pip", "--python", python, "install", "-q", *map(str, what))
    return python


def _bill(session, python, file):
    known = ("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible", "--output-format", "JSON")
    session.run("cyclonedx-py", "environment", *known, "--output-file", file, python)
    return str(Path(file).absolute())


@nox.session
def pages(session):
    """Makes anew what is made of the code: docs/units.md, docs/providers, and the tables of SDKs elsewhere."""
    session.install("-e", ".")
    session.run("python", "tests/support/made_pages.py")


@nox.session
def demo(session):
    """The `payi-otel demo` command."""
    session.install(".[openai]")
    session.run("payi-otel", "demo", *session.posargs)


@nox.session
def coverage(session):
    """Which lines the suite does not reach."""
    session.install("-e", ".[all]", *TEST, "coverage[toml]")
    session.run("coverage", "run", "--source", "payi_otel", "-m", "pytest", *session.posargs)
    session.run("coverage", "report", "--show-missing", "--skip-covered")


@nox.session
def faults(session):
    """The fault plan: everything that can go wrong with a delivery, and what became of each packet; a quarter of an hour."""
    session.install(".[openai]", *TEST)
    session.run("python", "tests/faults/plan.py", *session.posargs)


@nox.session
def baselines(session):
    """What becomes of calls while Pay-i fails, beside OpenTelemetry's batch exporter and the published SDK: bench/README.md."""
    session.install(".", "payi>=0.1.0a183")
    session.run("python", "bench/baselines.py", *session.posargs)


@nox.session
def soak(session):
    """Delivery under random faults for ten minutes, its account looked at all the time: bench/README.md."""
    session.install(".")
    session.run("python", "bench/soak.py", *session.posargs)


def _bench(session):
    session.install(".[openai]", *nox.project.dependency_groups(PYPROJECT, "bench"))


@nox.session
def bench(session):
    """What a call costs with this package, others and the floors, in turns; the figures of bench/results.json and docs/performance.md."""
    _bench(session)
    session.run("python", "bench/calls.py", *session.posargs)


@nox.session
def bench_growth(session):
    """What a call costs as the work grows; draws docs/growth.svg."""
    _bench(session)
    session.run("python", "bench/growth.py", *session.posargs)


@nox.session
def bench_instructions(session):
    """The same in instructions, which no other load moves."""
    _bench(session)
    session.run("python", "bench/instructions.py", *session.posargs)


@nox.session
def bench_short(session):
    """Fails where a call has come to cost far more instructions than it did; nothing is counted where there is no valgrind."""
    session.install(".[openai]", "httpx2", "openai>=3,<4")
    session.run("python", "bench/instructions.py", "--check")
