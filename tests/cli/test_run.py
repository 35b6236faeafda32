"""`payi-otel run -- python app.py`: a program as it is, and its calls recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import PAYI_OTEL
from openai_shapes import completion
from ports import reserved_port
from provider_server import ProviderServer, Reply

from payi_otel.delivery._handover import to_line
from payi_otel.environment_variables import FLAG_PREFIX
from payi_otel.packets.model import IngestPacket
from payi_otel.testing import IngestServer

pytest.importorskip("openai")

COMMAND = [*PAYI_OTEL]
OURS = {"OTEL_PYTHON_DISTRO": "payi", "OTEL_PYTHON_CONFIGURATOR": "payi"}
"""Another distribution may be installed beside ours; see tests/launcher."""
APP = """
import os, sys
import openai

with openai.OpenAI(api_key="sk-provider-secret", base_url=os.environ["PROVIDER"] + "/v1", max_retries=0) as client:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a secret prompt"}])
"""
SECRETS = ("sk-provider-secret", "test-key", "a secret prompt", "a secret answer")


class Stage:
    """A folder with a program, its provider and its Pay-i."""

    def __init__(self, folder: Path, provider: ProviderServer, ingest: IngestServer) -> None:
        self.folder, self.provider, self.ingest = folder, provider, ingest

    def environ(self, **more: str) -> dict[str, str]:
        """The command's environment, in which no script is on the path."""
        said = {
            "PROVIDER": self.provider.url,
            "PAYI_API_KEY": self.ingest.api_key,
            "PAYI_BASE_URL": self.ingest.url,
            "PATH": "/usr/bin:/bin",
        }
        return {**os.environ, **OURS, **said, **more}

    def start(self, code: str, *options: str, arguments: tuple[str, ...] = (), **variables: str) -> subprocess.Popen[str]:
        """The command, running."""
        app = self.folder / "app.py"
        app.write_text(code)
        line = [*COMMAND, "run", *options, "--", sys.executable, str(app), *arguments]
        return subprocess.Popen(
            line, env=self.environ(**variables), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, code: str, *options: str, arguments: tuple[str, ...] = (), **variables: str) -> subprocess.CompletedProcess[str]:
        """The same to its end; no secret is in what it says."""
        process = self.start(code, *options, arguments=arguments, **variables)
        out, errors = process.communicate(timeout=60)
        errors = "".join(line for line in errors.splitlines(keepends=True) if not line.startswith("Configuration of "))
        assert not [secret for secret in SECRETS if secret in out + errors]
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@pytest.fixture
def stage(tmp_path: Path, provider: ProviderServer, ingest: IngestServer) -> Stage:
    """With a provider that answers every chat."""
    message = {"role": "assistant", "content": "a secret answer", "refusal": None}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    provider.always("/chat/completions", lambda number: Reply(completion(id=f"chatcmpl-{number}", choices=choices)))
    return Stage(tmp_path, provider, ingest)


def test_a_program_is_recorded_and_says_nothing_more(stage: Stage) -> None:
    """Its output is its own, and its packet arrives, in the use case called after it."""
    done = stage.run(APP + "\nprint('done')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert [packet["headers"]["xproxy-usecase-name"] for packet in stage.ingest.packets] == ["app"]


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment without this package."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


@pytest.mark.skipif(sys.platform == "win32", reason="its commands are in another folder")
def test_a_python_of_another_environment_is_named(stage: Stage, other_python: Path) -> None:
    """It is run as it is, for it may be what is wanted; a program that has the package on its path is recorded, and nothing is said."""
    line = [*COMMAND, "run", "--", "python", "-c", "print('ran')"]
    variables = stage.environ(PATH=f"{other_python.parent}:/usr/bin:/bin")
    done = subprocess.run(line, env=variables, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60)
    said = f"payi-otel run: payi-otel is not installed for {other_python}: no calls are recorded. Run {Path(sys.executable).parent}"
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.startswith(said)
    lent = {**variables, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(line, env=lent, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60)
    assert "payi-otel is not installed" not in done.stderr


def test_flags_are_settings(stage: Stage) -> None:
    """A flag counts before its variable; the launcher's spelling is understood; arguments behind the program are the program's."""
    code = APP + "\nprint(sys.argv[1:])"
    options = ("--use-case-name", "shop", "--payi_user_id=ada")
    done = stage.run(code, *options, arguments=("--user-id", "bob", "--", "-x"), PAYI_OTEL_USER_ID="eve")
    assert done.stdout == "['--user-id', 'bob', '--', '-x']\n"
    headers = stage.ingest.packets[0]["headers"]
    assert (headers["xproxy-usecase-name"], headers["xproxy-user-id"]) == ("shop", "ada")


def test_every_setting_has_a_flag() -> None:
    """As the launcher's own, and none for the key."""
    from payi_otel import environment_variables
    from payi_otel.cli.run import command

    flags = {parameter.name for parameter in command.params}
    variables = {name.removeprefix(FLAG_PREFIX) for name in vars(environment_variables) if name.startswith(FLAG_PREFIX)}
    assert variables - flags == {"PAYI_API_KEY", "PAYI_OTEL_OFFLINE_INSTRUMENTATION_FILE_NAME"}


def test_offline_needs_no_key(stage: Stage) -> None:
    """The file is found from where the command was given, wherever the program goes."""
    done = stage.run("import os; os.chdir('/')" + APP, "--offline", "packets.json", PAYI_API_KEY="")
    assert (done.returncode, done.stderr) == (0, "")
    assert [packet["use_case_name"] for packet in json.loads((stage.folder / "packets.json").read_text())] == ["app"]
    assert stage.ingest.requests == []


def test_packets_are_printed_and_delivered(stage: Stage) -> None:
    """One line each, on stderr; without a word of what was said."""
    done = stage.run(APP, "--print", "--user-id", "ada", "--use-case-name", "shop")
    assert done.stdout == ""
    time_, rest = done.stderr.split("  ", 1)
    assert len(time_) == len("12:34:56")
    model, units, latency, who = rest.rstrip("\n").split("  ")
    assert (model, units, latency[-3:], who) == ("gpt-4o-mini", "text 12 → 5", " ms", "shop ada")
    assert len(stage.ingest.packets) == 1


def test_a_failed_call_is_printed_with_its_status(stage: Stage) -> None:
    """The program's own error is the program's."""
    stage.provider.always("/chat/completions", Reply({"error": {"message": "slow down"}}, status=429))
    failing = APP.replace("    client.", "  try:\n    client.") + "  except openai.RateLimitError:\n    sys.exit(1)\n"
    done = stage.run(failing, "--print")
    assert done.returncode == 1
    assert "  no units  " in done.stderr
    assert "  HTTP 429\n" in done.stderr


def test_packets_are_printed_while_nobody_takes_them(stage: Stage) -> None:
    """They wait, and are lines all the same."""
    with reserved_port() as port:
        calls = APP + "    " + APP.splitlines()[-1].strip() + "\n"
        done = stage.run(calls, "--print", PAYI_BASE_URL=f"http://127.0.0.1:{port}", PAYI_OTEL_EXIT_TIMEOUT_S="1")
    assert len([line for line in done.stderr.splitlines() if "  text 12 → 5  " in line]) == 2


def test_a_warning_of_a_setting_is_said_once(stage: Stage) -> None:
    """By the program, as without the command."""
    done = stage.run("print('ran')", PAYI_OTEL_USER_IDD="ada")
    assert done.stdout == "ran\n"
    assert done.stderr.count("PAYI_OTEL_USER_IDD") == 1


def test_a_line_cannot_steer_a_terminal() -> None:
    """A model is what the application called it; units that nobody knows are no fault."""
    body = {
        "resource": "gpt\x1b[2J\nforged",
        "units": {"text": {"input": 1}},
        "http_status_code": 299,
        "event_timestamp": "2026-01-01T01:02:03Z",
    }
    assert to_line(IngestPacket(body)) == "01:02:03  gpt\ufffd[2J\ufffdforged  text 1 → 0  0 ms  -  HTTP 299"


def test_printing_survives_a_closed_stderr(stage: Stage) -> None:
    """The packet is delivered all the same."""
    done = stage.run("import os; os.close(2)\n" + APP, "--print")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(stage.ingest.packets) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(7)", 7),
        ("raise SystemExit(0)", 0),
        ("import os; os._exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_exit_code_is_the_programs(stage: Stage, code: str, status: int) -> None:
    """Signals too."""
    assert stage.run(code).returncode == status


WAITING = (
    APP
    + """
import time
try:
    print("ready", flush=True)
    for _ in range(600):  # one long sleep may begin just behind a signal, and Python then does not see that for so long
        time.sleep(0.1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(9)
"""
)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("sent", "status", "said"), [(signal.SIGINT, 9, "interrupted\n"), (signal.SIGTERM, -signal.SIGTERM, "")])
def test_signals_are_the_programs(stage: Stage, sent: signal.Signals, status: int, said: str) -> None:
    """The command has become the program: it gets them, ends as it does, and its packets are delivered."""
    process = stage.start(WAITING)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (status, said)
    assert len(stage.ingest.packets) == 1


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ([], "payi-otel run -- python app.py"),
        (["--", "no-such-program"], "no-such-program is no program that can be run: give the path"),
        (["--", "app.py"], "payi-otel run -- python app.py"),
        (["--no-such-flag", "x", "--", "python3"], "No such option"),
        (["--use-case-version", "new", "--", "python3"], "PAYI_OTEL_USE_CASE_VERSION: 'new' is not allowed, must be an int"),
        (["--config", "/nowhere.toml", "--", "python3"], "'/nowhere.toml' cannot be read"),
        (["--offline", "/nowhere/packets.json", "--", "python3"], "offline_instrumentation.file_name: /nowhere/packets.json"),
        (["--offline", __file__, "--", "python3"], "holds something else than packets; give another name"),
    ],
)
def test_wrong_usage_runs_nothing_and_says_what_to_do(stage: Stage, line: list[str], advice: str) -> None:
    """Exit code 2."""
    done = subprocess.run([*COMMAND, "run", *line], env=stage.environ(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert advice in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_without_a_key_it_says_so_and_runs(stage: Stage) -> None:
    """The program may give one itself."""
    done = stage.run("print('ran')", PAYI_API_KEY="")
    assert done.stdout == "ran\n"
    assert done.stderr == (
        "payi-otel run: PAYI_API_KEY is not set: unless the program gives a key itself, no calls are recorded. "
        "Set it, or give --offline FILE\n"
    )


def test_a_program_that_is_no_program_of_pythons_runs(stage: Stage) -> None:
    """And so does what Python it starts."""
    (stage.folder / "inner.py").write_text(APP)
    line = [*COMMAND, "run", "--", "sh", "-c", f"{sys.executable} inner.py; exit 5"]
    done = subprocess.run(line, env=stage.environ(), cwd=stage.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert [packet["headers"]["xproxy-usecase-name"] for packet in stage.ingest.packets] == ["inner"]


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Until something holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_packets_are_printed_as_calls_end(stage: Stage) -> None:
    """Not at the program's end."""
    process = stage.start(WAITING, "--print")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "ready\n"
    line = next(line for line in process.stderr if not line.startswith("Configuration of "))
    assert "gpt-4o-mini" in line
    process.terminate()
    process.communicate(timeout=30)
