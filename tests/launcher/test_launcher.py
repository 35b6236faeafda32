"""`opentelemetry-instrument python app.py`: no line of code, in real processes, whatever else is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from launching import APP, COMMANDS, LAUNCHER, OURS, Stage

from payi_otel.instrumentors._discovery import all_instrumentors
from payi_otel.testing import Answer

SAID = {
    "category": "system.openai",
    "resource": "gpt-4o-mini",
    "units": {"text": {"input": 12, "output": 5}},
    "http_status_code": 200,
}
"""Of every packet here: the bill. The rest of a packet is what tests/openai compares."""


def bills(stage: Stage) -> list[dict[str, Any]]:
    """The bills that arrived."""
    return [{key: packet["body"].get(key) for key in SAID} for packet in stage.packets()]


def scopes(stage: Stage) -> list[dict[str, str]]:
    """Whose they are, without the ids that are made up."""
    return [{key: value for key, value in packet["scope"].items() if key != "xproxy-usecase-id"} for packet in stage.packets()]


def test_every_instrumentor_has_an_entry_point_of_its_own_name() -> None:
    """What the launcher finds is what `payi_instrument()` starts."""
    found = {point.name: point.value for point in importlib.metadata.entry_points(group="opentelemetry_instrumentor")}
    ours = {name: value for name, value in found.items() if name.startswith("payi_")}
    assert ours == {one.name: f"{type(one).__module__.rpartition('.')[0]}:{type(one).__name__}" for one in all_instrumentors()}


def test_a_program_without_a_line_of_ours_is_recorded(stage: Stage) -> None:
    """The use case is called after the program; nothing is printed."""
    result = stage.run(**OURS)
    assert (result.stdout, result.stderr) == ("", "")
    assert bills(stage) == [SAID]
    assert scopes(stage) == [{"xproxy-usecase-name": "app"}]


def test_settings_come_from_variables_a_file_and_flags(stage: Stage) -> None:
    """The later wins: file, variable, flag."""
    file = stage.folder / "payi.toml"
    file.write_text('account_name = "file"\nuser_id = "file"\nuse_case_name = "file"\n')
    stage.run(APP, "--payi_use_case_name", "flag", PAYI_OTEL_CONFIG=str(file), PAYI_OTEL_USER_ID="variable", **OURS)
    assert scopes(stage) == [
        {"xproxy-account-name": "file", "xproxy-user-id": "variable", "xproxy-usecase-name": "flag"},
    ]


def test_a_wrong_setting_is_one_line_and_the_program_runs(stage: Stage) -> None:
    """Unrecorded: it is not ours to stop it."""
    result = stage.run(APP + "\nprint('ran')", PAYI_OTEL_USE_CASE_VERSION="new", **OURS)
    assert result.stdout == "ran\n"
    assert result.stderr == "no calls are recorded: PAYI_OTEL_USE_CASE_VERSION: 'new' is not allowed, must be an int\n"
    assert stage.ingest.requests == []


def test_without_a_key_calls_are_spans_only(stage: Stage) -> None:
    """Quietly, where they are exported."""
    result = stage.run(PAYI_API_KEY="", OTEL_TRACES_EXPORTER="console", **OURS)
    assert json.loads(result.stdout)["name"] == "chat gpt-4o-mini"
    assert result.stderr == ""
    assert stage.ingest.requests == []


UNRECORDED = "calls are not recorded: PAYI_API_KEY is not set, and no payi_instrument() of the application has said where packets go\n"


@pytest.mark.parametrize("exporters", [{}, {"OTEL_TRACES_EXPORTER": "none"}], ids=["unset", "none"])
def test_without_a_key_and_an_exporter_the_first_call_says_so(stage: Stage, exporters: dict[str, str]) -> None:
    """Once, and not before a call: a program that makes none has nothing to be told."""
    assert stage.run("import openai", PAYI_API_KEY="", **exporters, **OURS).stderr == ""
    assert stage.run(CALLS="2", PAYI_API_KEY="", **exporters, **OURS).stderr == UNRECORDED
    assert stage.ingest.requests == []


@pytest.mark.parametrize("which", ["payi_instrument", "exporter", "shut down", "not wanted"])
def test_a_key_of_the_applications_own_is_none_that_is_missing(stage: Stage, which: str) -> None:
    """Calls that it does not want, or makes after its shutdown, are its own doing."""
    client = 'import os\nimport payi_otel\npayi = payi_otel.Payi(api_key=os.environ["KEY"], base_url=os.environ["URL"])\n'
    asked = client + "payi_otel.payi_instrument(payi=payi, instruments={INSTRUMENTS})\n"
    exporter = """
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import get_tracer_provider

exporter = payi_otel.PayiSpanExporter(api_key=os.environ["KEY"], base_url=os.environ["URL"])
get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
"""
    code = {
        "payi_instrument": asked.replace("{INSTRUMENTS}", "None") + APP,
        "exporter": client + exporter + APP,
        "shut down": asked.replace("{INSTRUMENTS}", "None") + APP + "payi_otel.shutdown(10)\n" + APP,
        "not wanted": asked.replace("{INSTRUMENTS}", '{"system.anthropic"}') + APP,
    }[which]
    result = stage.run(code, PAYI_API_KEY="", KEY=stage.ingest.api_key, URL=stage.ingest.url, **OURS)
    assert result.stderr == ""
    assert bills(stage) == ([] if which == "not wanted" else [SAID])


def test_a_call_of_the_applications_own_takes_over(stage: Stage) -> None:
    """`payi_instrument()` in the code wins over the environment, and each call is one packet."""
    explicit = 'import payi_otel\npayi_otel.payi_instrument(config={"use_case_name": "mine", "user_id": "ada"})\n'
    stage.run(APP + explicit + APP, PAYI_OTEL_USE_CASE_NAME="theirs", **OURS)
    assert bills(stage) == [SAID, SAID]
    assert sorted(scopes(stage), key=lambda scope: scope["xproxy-usecase-name"]) == [
        {"xproxy-user-id": "ada", "xproxy-usecase-name": "mine"},
        {"xproxy-usecase-name": "theirs"},
    ]


def test_the_account_of_both_is_one(stage: Stage) -> None:
    """What the launcher's pipeline had taken is in the application's `stats()`."""
    explicit = "import payi_otel\npayi_otel.payi_instrument()\n"
    end = "assert payi_otel.flush(10)\nprint(payi_otel.stats().created, payi_otel.stats().delivered)\n"
    assert stage.run(APP + explicit + APP + end, **OURS).stdout == "2 2\n"


def test_a_shutdown_waits_for_both(stage: Stage) -> None:
    """What the launcher's pipeline is still sending is in the final account, too."""
    stage.ingest.script(Answer(delay_s=1.0))
    explicit = "import payi_otel\npayi_otel.payi_instrument()\npayi_otel.shutdown(10)\n"
    end = "account = payi_otel.stats()\nprint(account.created, account.delivered, account.in_flight)\n"
    assert stage.run(APP + explicit + end, **OURS).stdout == "1 1 0\n"


def test_a_program_of_the_published_sdk_runs_on_this_package(stage: Stage) -> None:
    """With its own imports, its key in the code, and nothing in the environment."""
    code = """
import os
from payi import Payi
from payi.lib.instrument import payi_instrument, track

payi_instrument(payi=Payi(api_key=os.environ["KEY"], base_url=os.environ["URL"]), config={"use_case_name": "published"})
"""
    stage.run(code + APP, PAYI_API_KEY="", PAYI_BASE_URL="", KEY=stage.ingest.api_key, URL=stage.ingest.url, **OURS)
    assert bills(stage) == [SAID]
    assert scopes(stage) == [{"xproxy-usecase-name": "published"}]


def test_an_instrumentor_that_is_disabled_stays_off(stage: Stage) -> None:
    """By its entry-point name, which is no other instrumentation's; also where the application calls `payi_instrument()`."""
    stage.run(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="payi_openai", **OURS)
    stage.run("import payi_otel\npayi_otel.payi_instrument()\n" + APP, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="x, payi_openai", **OURS)
    assert stage.ingest.requests == []
    stage.run(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="openai", **OURS)
    assert bills(stage) == [SAID]


def test_all_instrumentors_can_be_disabled(stage: Stage) -> None:
    """`*` is meant for the launcher: an application that asks for itself still gets ours."""
    stage.run(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*", **OURS)
    assert stage.ingest.requests == []
    stage.run("import payi_otel\npayi_otel.payi_instrument()\n" + APP, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*", **OURS)
    assert bills(stage) == [SAID]


def test_only_some_providers_can_be_wanted(stage: Stage) -> None:
    """`PAYI_OTEL_INSTRUMENTS` is the argument of `payi_instrument`."""
    stage.run(PAYI_OTEL_INSTRUMENTS="system.anthropic", **OURS)
    assert stage.ingest.requests == []
    stage.run(PAYI_OTEL_INSTRUMENTS="system.anthropic,system.openai", **OURS)
    assert bills(stage) == [SAID]


def test_an_sdk_that_is_missing_takes_no_other_with_it(stage: Stage) -> None:
    """`vertexai` is not among the tests' packages, and the launcher starts its instrumentor all the same."""
    if importlib.util.find_spec("vertexai") is not None:
        pytest.skip("every SDK is installed here")
    result = stage.run(**OURS)
    assert result.stderr == ""
    assert bills(stage) == [SAID]


FAILING = """
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

class Failing(BaseInstrumentor):
    def instrumentation_dependencies(self):
        return ()

    def _instrument(self, **kwargs):
        raise RuntimeError("cannot")

    def _uninstrument(self, **kwargs):
        pass
"""
VENDOR = """
from opentelemetry import trace
from opentelemetry.instrumentation.distro import BaseDistro
from opentelemetry.sdk._configuration import _BaseConfigurator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

class VendorDistro(BaseDistro):
    def _configure(self, **kwargs):
        pass

class VendorConfigurator(_BaseConfigurator):
    def _configure(self, **kwargs):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")))
        trace.set_tracer_provider(provider)
"""
VENDORS = {"opentelemetry_distro": "vendor = vendor:VendorDistro", "opentelemetry_configurator": "vendor = vendor:VendorConfigurator"}
AS_VENDOR = {"OTEL_PYTHON_DISTRO": "vendor", "OTEL_PYTHON_CONFIGURATOR": "vendor"}


@pytest.mark.parametrize("distro", [OURS, AS_VENDOR], ids=["ours", "vendor's"])
def test_an_instrumentor_that_fails_takes_no_other_with_it(stage: Stage, distro: dict[str, str]) -> None:
    """Whoever's distribution is in charge: OpenTelemetry's launcher ends with the first fault under any other than ours."""
    stage.package("aaa_failing", FAILING, opentelemetry_instrumentor="aaa = aaa_failing:Failing")
    stage.package("vendor", VENDOR, **VENDORS)
    result = stage.run(**distro)
    assert "cannot" in result.stderr
    assert bills(stage) == [SAID]


def test_another_vendors_pipeline_is_joined(stage: Stage) -> None:
    """Its spans stay its own; ours are among them, and each call is one packet."""
    stage.package("vendor", VENDOR, **VENDORS)
    result = stage.run(**AS_VENDOR)
    assert result.stdout == "chat gpt-4o-mini\n"
    assert bills(stage) == [SAID]


def test_opentelemetrys_own_distro_is_joined(stage: Stage) -> None:
    """It is found first where both are installed."""
    pytest.importorskip("opentelemetry.distro")
    result = stage.run(
        OTEL_PYTHON_DISTRO="distro", OTEL_PYTHON_CONFIGURATOR="configurator", OTEL_TRACES_EXPORTER="console", OTEL_METRICS_EXPORTER="none"
    )
    assert '"name": "chat gpt-4o-mini"' in result.stdout  # among those of whatever else is installed
    assert bills(stage) == [SAID]


def test_exporters_by_name(stage: Stage) -> None:
    """`payi` sends, `payi_file` writes, beside any other; and where both a key and a file are there, the exporter says which."""
    stage.run(OTEL_TRACES_EXPORTER="payi,console", PAYI_OTEL_USER_ID="ada", **OURS)
    assert bills(stage) == [SAID]
    assert scopes(stage) == [{"xproxy-user-id": "ada", "xproxy-usecase-name": "app"}]
    file = stage.folder / "packets.json"
    stage.run(OTEL_TRACES_EXPORTER="payi_file", PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME=str(file), **OURS)
    assert len(stage.ingest.packets) == 1
    assert [record["provider_response_id"] for record in json.loads(file.read_bytes())] == ["chatcmpl-2"]


@pytest.mark.parametrize("wrong", [{"PAYI_API_KEY": ""}, {"PAYI_OTEL_USE_CASE_VERSION": "new"}], ids=["no key", "a wrong setting"])
def test_an_exporter_that_cannot_be_made_takes_no_other_with_it(stage: Stage, wrong: dict[str, str]) -> None:
    """One line for each of the two that are asked for; the rest of the pipeline is there."""
    result = stage.run(OTEL_TRACES_EXPORTER="payi,console", **{**OURS, **wrong})
    assert json.loads(result.stdout)["name"] == "chat gpt-4o-mini"
    assert result.stderr.startswith("an exporter of Pay-i's is left out of the pipeline: ")
    assert "Traceback" not in result.stderr


def test_a_declarative_file_whose_exporter_has_no_key_keeps_the_rest(stage: Stage) -> None:
    """It would be a fault of the whole configuration, with the spans of others and every instrumentor."""
    pytest.importorskip("opentelemetry.configuration")
    file = stage.folder / "otel.yaml"
    file.write_text("""
file_format: "1.0"
tracer_provider:
  processors:
    - simple: {exporter: {console: {}}}
    - batch: {exporter: {payi: {use_case_nme: shop}}}
""")
    result = stage.run(OTEL_CONFIG_FILE=str(file), **{**OURS, "PAYI_API_KEY": ""})
    assert '"name": "chat gpt-4o-mini"' in result.stdout  # an instrumentation of HTTP, where there is one, adds its own
    said = "an exporter of Pay-i's is left out of the pipeline: use_case_nme: unknown setting, did you mean 'use_case_name'?\n"
    assert result.stderr == said


def test_the_declarative_file_of_the_documentation_is_whole(stage: Stage) -> None:
    """As it is copied from the page."""
    pytest.importorskip("opentelemetry.configuration")
    page = Path(__file__).parents[2] / "docs" / "opentelemetry.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (stage.folder / "otel.yaml").write_text(text)
    result = stage.run(OTEL_CONFIG_FILE="otel.yaml", **OURS)
    assert result.stderr == ""
    assert bills(stage) == [SAID]
    assert scopes(stage) == [{"xproxy-usecase-name": "shop"}]


def test_declarative_configuration_makes_the_exporter(stage: Stage) -> None:
    """With its options; then no other variable of the SDK's counts."""
    pytest.importorskip("opentelemetry.configuration")
    file = stage.folder / "otel.yaml"
    file.write_text("""
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          payi:
            api_key: ${PAYI_API_KEY}
            base_url: ${PAYI_BASE_URL}
            user_id: ada
            use_case_name: declared
            ingest_retry:
              queue_interval: 0.5
""")
    result = stage.run(OTEL_CONFIG_FILE=str(file), **OURS)
    assert result.stderr == ""
    assert bills(stage) == [SAID]
    assert scopes(stage) == [{"xproxy-user-id": "ada", "xproxy-usecase-name": "declared"}]


@pytest.mark.parametrize("exporter", ["console", "payi,console"], ids=["processor", "exporter"])
def test_cost_is_not_sampled(stage: Stage, exporter: str) -> None:
    """A thousand calls at one in a hundred are a thousand packets and about ten sampled spans."""
    file = stage.folder / "packets.json"
    result = stage.run(
        CALLS="1000",
        OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.01",
        OTEL_TRACES_EXPORTER=exporter.replace("payi,", "payi_file,"),
        PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME=str(file),
        **OURS,
    )
    assert len({record["provider_response_id"] for record in json.loads(file.read_bytes())}) == 1000
    assert 0 < result.stdout.count('"gen_ai.operation.name"') < 40


def test_the_sdk_switched_off_switches_us_off(stage: Stage) -> None:
    """Also where the application asks for us."""
    result = stage.run(OTEL_SDK_DISABLED="true", **OURS)
    assert result.stderr == ""
    result = stage.run("import payi_otel\npayi_otel.payi_instrument()\n" + APP, OTEL_SDK_DISABLED="TRUE", **OURS)
    assert result.stderr == "OTEL_SDK_DISABLED is set: no calls are recorded\n"
    assert stage.ingest.requests == []
    assert len(stage.provider.requests) == 2


WSGI = """
import os
import openai

client = openai.OpenAI(api_key="k", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0)

def application(environ, start_response):
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi."}])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.id.encode()]
"""
ASGI = """
import os
import openai

client = openai.AsyncOpenAI(api_key="k", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0)

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    answer = await client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hi."}])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.id.encode()})
"""
SERVERS = {
    "gunicorn": (WSGI, ["gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "service:application"]),
    "gunicorn preload": (WSGI, ["gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:{port}", "service:application"]),
    "gunicorn gevent": (WSGI, ["gunicorn", "-k", "gevent", "--workers", "2", "--bind", "127.0.0.1:{port}", "service:application"]),
    "uvicorn": (ASGI, ["uvicorn", "--port", "{port}", "service:application"]),
    "uvicorn workers": (ASGI, ["uvicorn", "--workers", "2", "--port", "{port}", "service:application"]),
}


@pytest.mark.skipif(sys.platform == "win32", reason="neither gunicorn nor SIGTERM")
@pytest.mark.parametrize("server", SERVERS)
def test_servers_and_their_workers(stage: Stage, server: str, free_port: int) -> None:
    """Each request's call is one packet, delivered at the latest when the server is told to end."""
    if "gevent" in server:
        pytest.importorskip("gevent")
    code, command = SERVERS[server]
    stage.write(code, "service.py")
    arguments = [str(LAUNCHER), str(COMMANDS / command[0]), *(word.format(port=free_port) for word in command[1:])]
    process = subprocess.Popen(
        arguments, env=stage.variables(**OURS), cwd=stage.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        try:
            ids = {ask(f"http://127.0.0.1:{free_port}/") for _ in range(10)}
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
    assert len(ids) == 10, output
    assert sorted(packet["body"]["provider_response_id"] for packet in stage.ingest.packets) == sorted(ids), output
    assert all(scope["xproxy-usecase-name"] == command[0] for scope in scopes(stage))


def ask(url: str) -> str:
    """One request, as soon as the server is there."""
    transport = httpx.HTTPTransport(retries=20)
    with httpx.Client(transport=transport, trust_env=False, timeout=30) as client:
        return client.get(url).text


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["python", "/srv/My App.py", "x"], "my_app"),
        (["python", "-m", "service.main"], "service.main"),
        (["python", "-X", "dev", "-W", "error", "-u", "run.py"], "run"),
        (["python", "-c", "print()"], "interactive"),
        (["python", "-"], "interactive"),
        (["python", "-c", "from multiprocessing.forkserver import main; main(3, 4)"], "shop"),
        (["python", "-c", "from multiprocessing.spawn import spawn_main", "--multiprocessing-fork"], "shop"),
        (["python"], "interactive"),
        (["/venv/bin/python3", "/venv/bin/gunicorn", "app:app"], "gunicorn"),
    ],
)
def test_the_use_case_is_called_after_the_program(arguments: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `payi_instrument()` calls it after its caller's file; the children that `multiprocessing` makes, after their parent."""
    from payi_otel.config import PROGRAM_VARIABLE, program_name

    monkeypatch.setenv(PROGRAM_VARIABLE, "shop")
    assert program_name(arguments) == name


def test_the_launcher_lists_our_flags(stage: Stage) -> None:
    """One for every variable."""
    said = subprocess.run([str(LAUNCHER), "--help"], env=stage.variables(), capture_output=True, text=True, check=True).stdout
    for flag in ("--payi_api_key", "--payi_base_url", "--payi_config", "--payi_user_id", "--payi_ingest_retry_spool_directory"):
        assert flag in said


def test_a_program_that_starts_another_is_recorded_in_both(stage: Stage) -> None:
    """The launcher's environment is inherited."""
    child = stage.write(APP, "child.py")
    stage.run(f"import subprocess, sys\nsubprocess.run([sys.executable, {str(child)!r}], check=True)\n" + APP, **OURS)
    assert sorted(scope["xproxy-usecase-name"] for scope in scopes(stage)) == ["app", "child"]


def test_ctrl_c_delivers_what_is_queued(stage: Stage) -> None:
    """An interrupted program ends as it would without us, its packets sent."""
    code = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("ready", flush=True)
for _ in range(600):  # a signal just before a sleep is seen after it
    time.sleep(0.1)
"""
    command = [str(LAUNCHER), sys.executable, str(stage.write(APP + code))]
    with subprocess.Popen(
        command, env=stage.variables(**OURS), cwd=stage.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert bills(stage) == [SAID]


def test_a_dead_payi_holds_no_program_up(stage: Stage, tmp_path: Path) -> None:
    """It ends within its exit's time, and says what it lost."""
    result = stage.run(PAYI_BASE_URL="http://127.0.0.1:9", PAYI_OTEL_EXIT_TIMEOUT_S="1", **OURS)
    assert "1 of 1 packet was lost in this process" in result.stderr
