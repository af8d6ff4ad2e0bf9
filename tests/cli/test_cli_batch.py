import json
import shutil
from pathlib import Path

import pytest

from aureole.campaign import Failed
from aureole.cli import batch
from aureole.cli.batch_case import Prepare, identity
from aureole.cli.question import Settings
from aureole.core.record import read_record


@pytest.fixture
def line(files, tmp_path):
    """A good command line: two cases."""
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes/one").symlink_to(files.scene)
    return ["neighborhoods", "--scenes", "scenes", "--nets", files.net, "--out", "out", "--workers", "1", "--k", "9",
            "--method", "uniform", "--timeout", "0.5"]  # fmt: skip


def test_a_batch_and_its_resumption(command, line, tmp_path, monkeypatch):
    done = command(*line, "--records", "--json")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert (result["cases"], [row["network"] for row in result["networks"]]) == (2, ["net"])
    journal = tmp_path / "out/cases.jsonl"
    first, second = journal.read_text().splitlines()
    record, _ = read_record(Path(json.loads(first)["record"]))
    assert record.result["radii"] == json.loads(first)["radii"]
    assert {json.loads(text)["status"] for text in (first, second)} <= {"done", "not recognised"}

    monkeypatch.setattr(batch, "run_all", InProcess(None))  # only one case is left
    journal.write_text(f"{first}\n{second[:40]}")  # as a killed run leaves it
    done = command(*line)
    assert done.status == 0 and "net" in done.out and "out/cases.jsonl" in done.out
    again = journal.read_text().splitlines()
    assert again[0] == first
    assert json.loads(again[1])["case"] == json.loads(second)["case"]

    assert "begun with other settings (timeout 0.5 -> 2.0)" in command(*line, "--timeout", "2").complaint


class InProcess:
    """In place of the pool: does the jobs here, or what a test wants of them."""

    def __init__(self, *ends):
        self.ends = ends

    def __call__(self, prepare, jobs, workers, *, patience):
        for number, end in zip(range(len(jobs)), self.ends, strict=False):
            if end is KeyboardInterrupt:
                raise KeyboardInterrupt
            yield number, end if isinstance(end, Failed) else prepare()(jobs[number])


def test_ctrl_c_keeps_the_finished_cases(command, line, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "run_all", InProcess(None, KeyboardInterrupt))
    done = command(*line)
    words = "aureole: interrupted: 1 of 2 cases are in out/cases.jsonl; the same command goes on from there\n"
    assert (done.status, done.out, done.err) == (130, "", words)
    assert len((tmp_path / "out/cases.jsonl").read_text().splitlines()) == 1


def test_a_failed_case_is_a_line(command, line, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "run_all", InProcess(Failed("the worker was killed by signal 9, twice"), None))
    result = json.loads(command(*line, "--json").out)
    assert result["networks"][0]["not_done"]["failed"] == 1
    told = json.loads((tmp_path / "out/cases.jsonl").read_text().splitlines()[0])
    assert (told["status"], told["why"]) == ("failed", "the worker was killed by signal 9, twice")


@pytest.mark.parametrize("line_two", ["nonsense", "[1]", "[" * 100_000])
def test_a_line_that_is_no_object_is_told(command, line, tmp_path, line_two):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cases.jsonl").write_text(f'{{"case": "a"}}\n{line_two}\n')
    assert "cases.jsonl, line 2 is not a JSON object" in command(*line).complaint


def test_bad_input_of_one_case_is_a_line_too(line, files, tmp_path):
    (case, *_) = batch.list_cases(tmp_path / "scenes", [files.net], "first", 9, None)
    solve = Prepare(Settings(method="uniform", timeout=0.5, weights="1,2"), None, None)()
    told = solve(case)
    assert told["status"] == "refused" and "2 weights for" in told["why"]


def test_cases(line, files, tmp_path):
    both = batch.list_cases(tmp_path / "scenes", [files.net], "all", None, None)
    (first,) = batch.list_cases(tmp_path / "scenes", [files.net], "first", None, None)
    assert [(case.target, case.object) for case in both] == [(a, b) for a, b in ((first.target, first.object),
                                                             (first.object, first.target))]  # fmt: skip
    assert (first.k, first.scene, first.network) == (2, "one", "net")
    assert identity(first.line("done", size=1.0)) == first.identity != both[-1].identity
    assert identity(first.line("done") | {"network_sha256": "other weights"}) != first.identity


def test_what_is_asked_is_checked(command, line, files, tmp_path):
    (tmp_path / "copy").mkdir()
    same_name = tmp_path / "copy/net.safetensors"
    same_name.write_bytes(Path(files.net).read_bytes())
    for more, words in (
        (["--workers", "0"], "--workers is 0"),
        (["--pairs", "some"], "--pairs 'some' is unknown"),
        (["--scenes", "out"], "holds no scenes"),
        (["--nets", ","], "no network is given"),
        (["--nets", "nobody"], "unknown"),
        (["--nets", f"{files.net},{same_name}"], "the same name"),
        (["--objective", "max"], "objective 'max'"),
        (["--bands", "4"], "start at 0"),
    ):
        assert words in command(*line, *more).complaint


def test_the_normalisation_reaches_the_networks(command, line, tmp_path):
    """Scores shifted by a constant would not tell: the record says what was used, and a wrong number is refused."""
    done = command(*line, "--records", "--mean", "0.3", "--std", "0.5")
    assert done.status == 0
    records = [
        read_record(Path(told["record"]))[0]
        for told in map(json.loads, (tmp_path / "out/cases.jsonl").read_text().splitlines())
        if told["status"] == "done"
    ]
    assert all((record.config["mean"], record.config["std"]) == ("0.3", "0.5") for record in records)
    assert "std holds 0" in command(*line[:-1], "0.6", "--out", "other", "--std", "0").complaint


def test_another_mask_is_another_case(line, files, tmp_path):
    """Found in review: the radii around another object were reported as this one's."""
    (tmp_path / "scenes/one").unlink()
    shutil.copytree(files.scene, tmp_path / "scenes/one")
    before = batch.list_cases(tmp_path / "scenes", [str(files.net)], "first", None, None)
    mask = tmp_path / "scenes/one/mask-1.png"
    shutil.copy(tmp_path / "scenes/one/mask-0.png", mask)
    after = batch.list_cases(tmp_path / "scenes", [str(files.net)], "first", None, None)
    assert before[0].key == after[0].key and before[0].identity != after[0].identity


def test_refused_cases_end_with_status_2_and_are_asked_again(command, line, tmp_path):
    """Found in review: status 0, and the folder was bound to settings that had computed nothing."""
    done = command(*line, "--floor", "3")
    assert done.status == 2 and "2 of 2 cases have no answer" in done.err
    done = command(*line)
    assert done.status == 0
    lines = [json.loads(text) for text in (tmp_path / "out/cases.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines[:2]] == ["refused", "refused"]
    assert "refused" not in {line["status"] for line in lines[2:]}


def test_damaged_lines_are_asked_again(command, line, tmp_path):
    assert command(*line).status == 0
    journal = tmp_path / "out/cases.jsonl"
    first, second = (json.loads(text) for text in journal.read_text().splitlines())
    first.pop("status")
    journal.write_text(f"{json.dumps(first)}\n{json.dumps(second | {'size': 'abc', 'status': 'done'})}\n")
    done = command(*line, "--json")
    assert (done.status, json.loads(done.out)["cases"]) == (0, 2)
    assert len(journal.read_text().splitlines()) == 4


def test_scenes_of_one_object_hold_no_case(command, line, files, tmp_path):
    (tmp_path / "scenes/one").unlink()
    shutil.copytree(files.scene, tmp_path / "scenes/one")
    told = json.loads((tmp_path / "scenes/one/scene.json").read_text())
    told |= {"labels": told["labels"][:1], "masks": told["masks"][:1]}
    (tmp_path / "scenes/one/scene.json").write_text(json.dumps(told))
    assert "shows two objects" in command(*line).complaint
