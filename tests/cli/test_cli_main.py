"""The program as a user starts it, in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from aureole.cli import lazy, main


def aureole(*arguments: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "aureole.cli.main", *arguments], capture_output=True, text=True, check=False, **more
    )


def test_version():
    done = aureole("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"aureole {version('aureole')}\n", "")


def test_help_lists_every_command_and_does_not_import_torch():
    code = "import sys; from aureole.cli.main import run; run(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("demo", "prove", "neighborhood", "scenes", "report", "train"):
        assert f"  {name} " in done.stdout
    assert done.stdout.endswith("False\n")


def test_no_arguments_print_the_help(command):
    done = command()
    assert done.status == 0
    assert "Commands:" in done.out


@pytest.mark.parametrize("name", lazy.COMMANDS)
def test_every_command_has_help(command, name):
    done = command(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert f"aureole {name}" in done.out


def test_bad_input_in_a_process(files):
    done = aureole(*files.prove("--radius", "-1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("aureole: --radius is -1") and done.stderr.count("\n") == 1


def test_ctrl_c_in_a_process():
    code = (
        "import time, typer; from aureole.cli import lazy, main\n"
        "lazy.COMMANDS['wait'] = ('waiting:wait', '')\n"
        "import sys, types; m = types.ModuleType('waiting'); sys.modules['waiting'] = m\n"
        "def wait():\n    print('ready', flush=True); time.sleep(30)\n"
        "m.wait = wait; sys.argv = ['aureole', 'wait']; main.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "aureole: interrupted\n"


def test_an_unexpected_os_error_is_one_line(command, monkeypatch):
    def refuse() -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setitem(lazy.COMMANDS, "refuse", (f"{__name__}:refuse", ""))
    monkeypatch.setattr(sys.modules[__name__], "refuse", refuse, raising=False)
    assert command("refuse").complaint == "/somewhere: Permission denied"


def test_the_programs_own_errors_are_not_hidden(monkeypatch):
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(lazy.COMMANDS, "fail", (f"{__name__}:fail", ""))
    monkeypatch.setattr(sys.modules[__name__], "fail", fail, raising=False)
    with pytest.raises(ZeroDivisionError):
        main.run(["fail"])
