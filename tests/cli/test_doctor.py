"""`payi-otel doctor`, as a program of its own: what it finds, what it advises, and that it gives nothing away."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai_shapes import numbered
from ports import reserved_port
from provider_server import ProviderServer

from payi_otel.cli._doctor.findings import look_around
from payi_otel.delivery.spool import Spool
from payi_otel.testing import Answer, IngestServer

pytest.importorskip("openai")

KEY = "test-key"
OURS = {"OTEL_PYTHON_DISTRO": "payi", "OTEL_PYTHON_CONFIGURATOR": "payi"}
SECRETS = (KEY, "sk-provider-secret", "a secret prompt", "pass-word")


ONE_SDK = """
from payi_otel.instrumentors import _discovery
every = _discovery.all_instrumentors
_discovery.all_instrumentors = lambda: tuple(one for one in every() if one.distribution == "openai")
"""
"""To import all of them takes seconds."""


def doctor(
    *arguments: str, before: str = "", every_sdk: bool = False, cwd: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command, and something before it; no secret is in what it says."""
    before = before if every_sdk else ONE_SDK + before
    line = [sys.executable, "-c", f"import sys; from payi_otel.cli import main\n{before}\nsys.exit(main())", "doctor", *arguments]
    environ = {**os.environ, **OURS, **variables}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120, env=environ, cwd=cwd)
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    assert "Traceback" not in done.stderr, done.stderr
    return done


def checks(*, problems: bool = False, is_offline: bool = False, **variables: str) -> dict[str, list[tuple[str, str, str]]]:
    """State, finding and remedy by what was looked at; without the SDKs, which take seconds."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    looked_at = look_around({**os.environ, **OURS, **variables}, is_offline=is_offline)
    for check in looked_at:
        found.setdefault(check.name, []).append((check.state, check.found, check.remedy))
        assert check.remedy or check.state != "problem", check
        assert not [secret for secret in SECRETS if secret in check.found + check.remedy]
    assert any(check.state == "problem" for check in looked_at) is problems, looked_at
    return found


def with_payi(ingest: IngestServer, **more: str) -> dict[str, str]:
    """An environment in which all is well."""
    return {"PAYI_API_KEY": ingest.api_key, "PAYI_BASE_URL": ingest.url, **more}


# the SDKs


def test_every_installed_sdk_is_instrumented_whole() -> None:
    """With its version and every method; without a key and without a network."""
    done = doctor("--json", "--offline", every_sdk=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sdks = {sdk["distribution"]: sdk for sdk in json.loads(done.stdout)["sdks"]}
    assert sdks["openai"]["version"] == version("openai")
    assert sdks["openai"]["state"] == "instrumented"
    assert "openai.resources.chat.completions.Completions.create" in sdks["openai"]["wrapped"]
    assert {sdk["state"] for sdk in sdks.values()} <= {"instrumented", "not installed"}


def test_people_read_it_too() -> None:
    """One line an SDK, or one a method."""
    done = doctor("--offline")
    assert done.returncode == 0
    line = re.search(rf"^openai {re.escape(version('openai'))}: instrumented, (\d+) methods$", done.stdout, re.MULTILINE)
    assert line is not None
    every = doctor("--offline", "--verbose").stdout.partition(line.group())[2].splitlines()[1:]
    names = list(itertools.takewhile(lambda name: name.startswith("  wrapped  openai."), every))
    assert len(names) == int(line[1]) > 30
    assert "\nnote     key: PAYI_API_KEY is not set\n         -> set PAYI_API_KEY" in done.stdout


LOST = """
from msgspec.structs import replace
from payi_otel.instrumentors._base import Patch
from payi_otel.instrumentors.openai import _patches
gone = Patch("openai.resources.completions", "Completions.gone", _patches.CHAT)
_patches.TABLE = replace(_patches.TABLE, patches=(*_patches.TABLE.patches, gone))
"""
OLD = """
from payi_otel.instrumentors.openai import OpenAIInstrumentor
OpenAIInstrumentor.installed_version = lambda self: "1.5"
"""
NONE = """
from payi_otel.instrumentors._base import ProviderInstrumentor
ProviderInstrumentor.installed_version = lambda self: None
"""
BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "openai.resources.completions":
            raise RuntimeError("a broken installation")
sys.meta_path.insert(0, Broken())
"""


def test_a_method_that_an_sdk_has_lost_is_named_and_the_command_fails() -> None:
    """Everything else of it is wrapped."""
    done = doctor("--offline", before=LOST)
    assert done.returncode == 1
    sdk = version("openai")
    assert re.search(rf"^openai {re.escape(sdk)}: incomplete, \d+ methods$", done.stdout, re.MULTILINE)
    assert "\n  MISSING  openai.resources.completions.Completions.gone\n" in done.stdout
    assert f"\n  openai {sdk} is not yet known to this version of payi-otel: look for a newer one\n" in done.stdout
    assert f"\nproblem  sdk: openai {sdk}: incomplete\n         -> openai {sdk} is not yet known" in done.stdout


def test_an_sdk_that_is_too_old_is_named_and_the_command_fails() -> None:
    """With the command that brings a newer one."""
    done = doctor("--offline", before=OLD)
    assert done.returncode == 1
    assert "\nopenai 1.5: not supported\n  pip install 'openai>=1.66'\n" in done.stdout


def test_no_sdk_at_all_is_a_problem() -> None:
    """Nothing could be recorded."""
    done = doctor("--offline", before=NONE)
    assert done.returncode == 1
    assert "\nproblem  sdk: none of the SDKs this version instruments is installed\n         -> install" in done.stdout


def test_an_sdk_that_cannot_be_imported_is_no_traceback() -> None:
    """Its methods are missing, and why is said."""
    done = doctor("--offline", before=BROKEN)
    assert done.returncode == 1
    assert "openai.resources.completions cannot be imported (RuntimeError: a broken installation)" in done.stderr


# key, address and Pay-i


def test_all_is_well(ingest: IngestServer) -> None:
    """One request, and no packet; the command says so."""
    done = doctor(**with_payi(ingest))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nok       authentication: the key is taken\n" in done.stdout
    ingest.requests.clear()
    found = checks(**with_payi(ingest))
    assert found["key"] == [("ok", "PAYI_API_KEY is set", "")]
    assert found["url"] == [("ok", f"{ingest.url}, by PAYI_BASE_URL", "")]
    assert found["reachable"] == [("ok", f"{ingest.url} answers", "")]
    assert found["authentication"] == [("ok", "the key is taken", "")]
    assert len(ingest.requests) == 1
    assert ingest.packets == []


def test_a_missing_key_is_a_problem() -> None:
    """Unless packets go to a file."""
    found = checks(problems=True)
    assert [state for state, _, _ in found["key"]] == ["problem"]
    assert "reachable" not in found
    found = checks(PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME="packets.json")
    assert [state for state, _, _ in found["key"]] == ["note"]
    assert "packets go to a file" in found["settings"][0][1]


def test_the_flags_variable_is_named(ingest: IngestServer) -> None:
    """The launcher's counts before the plain one."""
    found = checks(PAYI_API_KEY="x", OTEL_PAYI_API_KEY=ingest.api_key, PAYI_BASE_URL=ingest.url)
    assert found["key"] == [("ok", "OTEL_PAYI_API_KEY is set", "")]


def test_a_refused_key_is_a_problem(ingest: IngestServer) -> None:
    """Pay-i is there all the same."""
    found = checks(problems=True, **with_payi(ingest, PAYI_API_KEY="pass-word"))
    assert found["reachable"][0][0] == "ok"
    assert found["authentication"] == [("problem", "the key is refused (HTTP 401)", "set PAYI_API_KEY to a key of this Pay-i")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=503), "answers HTTP 503"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}), "answers HTTP 302"),
        (Answer(reset=True), "does not answer: connection_error"),
        (Answer(garbage=True), "does not answer: connection_error"),
    ],
)
def test_a_pay_i_that_fails_is_a_problem(ingest: IngestServer, answer: Answer, said: str) -> None:
    """Its address is said, and nothing else of it."""
    ingest.decide(lambda request: answer)
    found = checks(problems=True, **with_payi(ingest))
    assert found["reachable"][0][0] == "problem"
    assert said in found["reachable"][0][1]
    assert "authentication" not in found


def test_nobody_listens() -> None:
    """What to look at is said."""
    with reserved_port() as port:
        found = checks(problems=True, PAYI_API_KEY=KEY, PAYI_BASE_URL=f"http://127.0.0.1:{port}")
    assert found["reachable"][0][0] == "problem"
    assert "PAYI_BASE_URL" in found["reachable"][0][2]


def test_offline_asks_nobody(ingest: IngestServer) -> None:
    """The key is not needed either."""
    assert "reachable" not in checks(is_offline=True, **with_payi(ingest))
    assert ingest.requests == []


@pytest.mark.parametrize("url", ["https://user:pass-word@127.0.0.1:9/", "http://pay-i.example", "not a url"])
def test_a_wrong_address_gives_nothing_away(url: str) -> None:
    """Nor is it asked."""
    assert checks(is_offline=True, problems=True, PAYI_API_KEY=KEY, PAYI_BASE_URL=url)["url"][0][0] == "problem"


def test_a_key_that_can_be_none_and_a_broken_header_are_told_apart() -> None:
    """Each under its own name."""
    found = checks(is_offline=True, problems=True, PAYI_API_KEY=f"{KEY} {KEY}", PAYI_CUSTOM_HEADERS="a b: pass-word")
    assert [state for state, _, _ in found["key"]] == ["ok", "problem"]
    assert found["headers"][0][0] == "problem"


def test_every_wrong_setting_is_a_problem() -> None:
    """One line each, of the file and the environment."""
    found = checks(is_offline=True, problems=True, PAYI_OTEL_USE_CASE_VERSION="new", PAYI_OTEL_DELIVERY="later")
    assert [state for state, _, _ in found["settings"]] == ["problem", "problem"]


def test_what_the_log_would_say_of_settings_is_a_note(capfd: pytest.CaptureFixture[str]) -> None:
    """A variable that is nearly one."""
    found = checks(is_offline=True, PAYI_OTEL_USER_IDD="ada")
    assert ("note", "the variable PAYI_OTEL_USER_IDD is not a setting and is not used, did you mean 'USER_ID'? (after PAYI_OTEL_)", "") in (
        found["settings"]
    )
    assert capfd.readouterr().err == ""


# OpenTelemetry


def test_what_switches_recording_off_is_a_problem() -> None:
    """The whole SDK, or all instrumentors under the launcher; one of them is a note."""
    found = checks(is_offline=True, problems=True, OTEL_SDK_DISABLED="true", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="*")
    assert found["OTEL_SDK_DISABLED"][0][0] == found["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"][0][0] == "problem"
    found = checks(is_offline=True, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="payi_openai, payi_antropic, redis")
    assert found["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] == [
        ("note", "off: payi_openai", "take a name out of it to have its calls recorded"),
        ("note", "payi_antropic is none of this package's", "did you mean payi_anthropic?"),
    ]


def test_a_sampler_does_not_sample_cost() -> None:
    """Said, and no problem."""
    found = checks(is_offline=True, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.01")
    assert found["sampler"][0][0] == "note"
    assert "OTEL_TRACES_SAMPLER=traceidratio, 0.01: traces are sampled, cost is not" in found["sampler"][0][1]


def test_other_instrumentations_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are known are fine; others are marked; the published SDK's would send twice."""
    for name in (
        "opentelemetry-instrumentation-genai-openai",
        "opentelemetry_instrumentation_mistralai",
        "opentelemetry-instrumentation-redis",
    ):
        metadata = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (tmp_path / "broken-1.0.dist-info").mkdir()
    (tmp_path / "broken-1.0.dist-info" / "METADATA").write_bytes(b"\xff\xfe nothing")
    monkeypatch.syspath_prepend(tmp_path)
    found = checks(is_offline=True)
    said = {text.split(" ")[0]: state for state, text, _ in found["instrumentation"]}
    assert said["opentelemetry-instrumentation-genai-openai"] == "ok"
    assert said["opentelemetry-instrumentation-mistralai"] == "note"
    assert "opentelemetry-instrumentation-redis" not in said


# the spool

posix = pytest.mark.skipif(os.name != "posix", reason="no spool here")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[tuple[Path, Spool]]:
    """A directory, and a process (this one) that keeps three packets there."""
    directory = tmp_path / "spool"
    one = Spool(str(directory))
    assert one.write([b'{"a secret prompt": 1}'] * 3) is not None
    yield directory, one
    one.close()


def spooled(directory: Path, *, problems: bool = False) -> list[tuple[str, str, str]]:
    """What is said of the spool."""
    return checks(is_offline=True, problems=problems, PAYI_OTEL_INGEST_RETRY_SPOOL_DIRECTORY=str(directory))["spool"]


@posix
def test_what_waits_in_a_spool_is_counted(spool: tuple[Path, Spool]) -> None:
    """A running process's is its own; what a process has left can be sent. Nothing is changed by the look."""
    directory, process = spool
    before = {file.name: file.read_bytes() for file in directory.iterdir()}
    said = spooled(directory)
    assert [state for state, _, _ in said] == ["ok", "ok"]
    assert "waiting in it: 3 packets" in said[1][1]
    process.close()
    said = spooled(directory)
    assert said[2][:2] == ("note", "left by processes that have ended: 3 of them")
    assert f"payi-otel replay --spool {directory}" in said[2][2]
    assert {file.name: file.read_bytes() for file in directory.iterdir()} == before


@posix
def test_damage_in_a_spool_is_a_problem(spool: tuple[Path, Spool]) -> None:
    """Files that are no segments, links and quarantined ones, too."""
    directory, process = spool
    process.close()
    segment = next(directory.glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[40] ^= 1
    segment.write_bytes(content)
    (directory / "foreign.seg").write_bytes(b"what is this")
    (directory / "link.seg").symlink_to("/etc/passwd")
    (directory / "quarantine").mkdir()
    (directory / "quarantine" / "x.damaged").write_bytes(b"x" * 2048)
    said = spooled(directory, problems=True)
    text = "\n".join(f"{state} {found}" for state, found, _ in said)
    assert "problem damaged in it: 2 places" in text
    assert "problem 1 file in it cannot be read" in text
    assert f"note what was damaged is in {directory / 'quarantine'}: 1 file, 2 KiB" in text


@posix
def test_a_spool_that_is_not_used_is_a_problem(tmp_path: Path) -> None:
    """Others may write to it, or it is no directory; one that is not there yet is made, but not by the look."""
    directory = tmp_path / "spool"
    assert spooled(directory) == [("ok", f"{directory} is made when the first packet is", "")]
    assert not directory.exists()
    directory.mkdir()
    directory.chmod(0o777)
    assert spooled(directory, problems=True)[0][:2] == ("problem", f"{directory}: others may write to it, so it is not used")
    directory.chmod(0o755)
    assert spooled(directory)[0][0] == "note"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    file = tmp_path / "file"
    file.touch()
    assert spooled(file, problems=True)[0][:2] == ("problem", f"{file} is no directory")


# a program

RECORDED = """
import os, sys
import openai

with openai.OpenAI(api_key="sk-provider-secret", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0) as client:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a secret prompt"}])
"""
UNSEEN = """
import os, httpx
httpx.post(os.environ["PROVIDER"] + "/v1/chat/completions", json={"a secret prompt": 1}, trust_env=False)
"""


@pytest.fixture
def world(tmp_path: Path, provider: ProviderServer, ingest: IngestServer) -> dict[str, Any]:
    """What a program needs: its folder and its environment."""
    provider.always("/chat/completions", numbered)
    mapping = json.dumps({urlsplit(provider.url).netloc: {"price_as_category": "system.openai"}})
    return {"cwd": tmp_path, "PROVIDER": provider.url, "PAYI_OTEL_HOST_MAPPINGS": mapping, **with_payi(ingest)}


def run(world: dict[str, Any], code: str, *options: str, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The doctor looks at a program."""
    (world["cwd"] / "app.py").write_text(code)
    return doctor(*options, "--", sys.executable, "app.py", *arguments, **world)


def test_a_program_is_run_and_its_calls_are_shown(world: dict[str, Any], ingest: IngestServer) -> None:
    """Requests beside packets; they are delivered as always."""
    done = run(world, RECORDED + "\nprint(sys.argv[1:])", arguments=("--offline", "x"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("['--offline', 'x']\n")
    assert "ok       program: ended with exit code 0; 1 process gave an account\n" in done.stdout
    assert "ok       calls: 127.0.0.1: 1 request, 1 packet\n" in done.stdout
    assert "ok       packets: 1 made, 1 delivered, 0 lost, 0 kept on disk\n" in done.stdout
    assert len(ingest.packets) == 1


def test_calls_that_are_not_recorded_are_a_problem(world: dict[str, Any]) -> None:
    """By host, and with what to do."""
    done = run(world, UNSEEN)
    assert done.returncode == 1
    assert "problem  calls: 127.0.0.1: 1 request, 0 packets: calls are not recorded\n         -> make these calls" in done.stdout


def test_json_is_json_whatever_the_program_prints(world: dict[str, Any], ingest: IngestServer) -> None:
    """Offline, its packets are counted and thrown away."""
    done = run(world, RECORDED + "\nprint('{ no json')", "--json", "--offline")
    assert done.returncode == 0, done.stderr
    assert "{ no json\n" in done.stderr
    program = json.loads(done.stdout)["program"]
    assert (program["exit_code"], program["processes"]) == (0, 1)
    assert program["hosts"] == {"127.0.0.1": {"requests": 1, "packets": 1}}
    assert (program["stats"]["created"], program["stats"]["delivered"]) == (1, 1)
    assert ingest.requests == []
    assert sorted(file.name for file in world["cwd"].iterdir()) == ["app.py"]


def test_without_a_key_a_program_is_looked_at_offline(world: dict[str, Any], ingest: IngestServer) -> None:
    """The key is the problem; its calls are not."""
    done = run({**world, "PAYI_API_KEY": ""}, RECORDED)
    assert done.returncode == 1
    assert "problem  key: PAYI_API_KEY is not set\n" in done.stdout
    assert "ok       calls: 127.0.0.1: 1 request, 1 packet\n" in done.stdout
    assert ingest.requests == []


def test_children_give_an_account_too(world: dict[str, Any]) -> None:
    """Forked or started; they add up."""
    code = f"""
import subprocess, sys
{RECORDED}
subprocess.run([sys.executable, "inner.py"], check=True)
"""
    (world["cwd"] / "inner.py").write_text(RECORDED)
    done = run(world, code, "--json")
    program = json.loads(done.stdout)["program"]
    assert (program["processes"], program["hosts"]) == (2, {"127.0.0.1": {"requests": 2, "packets": 2}})


def test_a_program_that_loses_packets_is_a_problem(world: dict[str, Any], ingest: IngestServer) -> None:
    """With the reasons."""
    ingest.decide(lambda request: Answer(status=402) if request["path"] == "/api/v1/ingest" else None)
    done = run({**world, "PAYI_OTEL_INGEST_BULK": "false"}, RECORDED)
    assert done.returncode == 1
    assert "problem  packets: 1 made, 0 delivered, 1 lost (1 http_402), 0 kept on disk\n" in done.stdout


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        ("import sys; sys.exit(3)", "note     program: ended with exit code 3; 1 process", 0),
        ("import os; os._exit(0)", "problem  program: nothing was recorded in it", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", f"note     program: ended with signal {int(signal.SIGKILL)}; 0", 1),
        ("", "note     calls: no GenAI call was seen", 0),
        (
            "import os; open(os.environ['_PAYI_OTEL_ACCOUNT'], 'a').write('{}\\n[]\\nno json\\n')",
            "note     program: 3 lines of its account cannot be read",
            0,
        ),
        ("import os; os.remove(os.environ['_PAYI_OTEL_ACCOUNT'])", "problem  program: nothing was recorded in it", 1),
    ],
)
def test_however_a_program_ends_the_doctor_says_how(world: dict[str, Any], code: str, said: str, status: int) -> None:
    """A crash, no exit hooks, nothing to see, and one that meddles."""
    done = run(world, code)
    assert said in done.stdout
    assert done.returncode == status


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_signal_to_the_doctor_is_the_programs(world: dict[str, Any], ingest: IngestServer) -> None:
    """Its packets are delivered, and the doctor says what it has seen."""
    # In short sleeps: one that begins in the very moment of a signal is slept to its end.
    waits = "import time\nfor _ in range(600):\n    time.sleep(0.1)"
    (world["cwd"] / "app.py").write_text(f"{RECORDED}\nprint('ready', flush=True)\n{waits}")
    line = [sys.executable, "-c", "import sys; from payi_otel.cli import main; sys.exit(main())", "doctor", "--", sys.executable, "app.py"]
    environ = {**os.environ, **OURS, **{name: value for name, value in world.items() if name != "cwd"}}
    process = subprocess.Popen(line, env=environ, cwd=world["cwd"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert f"program: ended with signal {int(signal.SIGTERM)}; 1 process gave an account\n" in out
    assert "calls: 127.0.0.1: 1 request, 1 packet\n" in out
    assert len(ingest.packets) == 1


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["--", "no-such-program"], ["app.py"]])
def test_wrong_usage_is_two(arguments: list[str]) -> None:
    """And nothing is looked at."""
    done = doctor(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
