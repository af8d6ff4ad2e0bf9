import io
import json

import pytest
from rich.console import Console

from aureole import nets
from aureole.cli import demo, inputs
from aureole.core.record import read_record
from aureole.neighborhood.prover import Prover
from aureole.report.tables import COLUMNS


@pytest.fixture
def one_scene(monkeypatch):
    monkeypatch.setattr(demo, "_SCENES", 1)


def test_the_shipped_networks_recognise_the_scenes():
    networks = [inputs.read_network(name, None, None) for name in nets.SHIPPED]
    scenes = demo.recognised_scenes(networks)
    assert len(scenes) == 3
    assert [scene.name for scene in scenes] == [scene.name for scene in demo.recognised_scenes(networks)]
    assert all(demo._recognises(graph, scene) for _, graph in networks for scene in scenes)


@pytest.mark.usefixtures("one_scene")
def test_json(command, tmp_path):
    done = command("demo", "--timeout", "6", "--json")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    # two seconds each: enough on an idle machine, and a busy one may end with nothing proved, never with more
    assert {run["verdict"] for run in result["runs"]} <= {"ROBUST", "UNKNOWN"}
    for run in result["runs"]:
        record, _ = read_record(tmp_path / run["record"])
        assert record.config["object"] != record.config["target"]
        assert (tmp_path / run["record"] / "neighborhood.png").exists()
    scene = next((tmp_path / "demo-out/scenes").iterdir())
    assert command("scenes", "show", scene).status == 0


@pytest.mark.usefixtures("one_scene")
def test_table(command):
    done = command("demo", "--timeout", "3", "--out", "there")
    assert done.status == 0
    for name in nets.SHIPPED:
        assert name in done.out
    assert done.out.splitlines()[-1].startswith("Pictures: there/")


def test_the_table_fits_80_columns():
    longest = ("digits-linf", "demo-0003", "4", "6", "not proved", "9.1e-05", "0.00012", "39 open", "100.1 s")
    console = Console(width=80, file=io.StringIO())
    console.print(demo.table([longest, longest]))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    for line in lines[-2:]:
        assert all(cell in line for cell in longest)
    assert all(column in lines[0] for column in COLUMNS)


@pytest.mark.usefixtures("one_scene")
def test_ctrl_c_ends_the_whole_demo(command, tmp_path, monkeypatch):
    monkeypatch.setattr(Prover, "check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    done = command("demo", "--out", "there")
    assert (done.status, done.out) == (130, "")
    assert done.err == "aureole: interrupted in search 1 of 3; the records so far are in there\n"
    assert len(list(tmp_path.glob("there/*/record.json"))) == 1


def test_bad_input(command, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--timeout is -1" in command("demo", "--timeout", "-1").complaint
    assert "is a file" in command("demo", "--out", "file").complaint
