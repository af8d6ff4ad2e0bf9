"""The small parts: JSON output, progress, staging."""

import io
import json
import sys
import time
from pathlib import Path

import pytest

from aureole.cli.output import print_json, print_summary
from aureole.cli.progress import progress
from aureole.cli.staging import probe, staged
from aureole.core import InputError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_has_no_nan(capsys):
    print_json({"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": None}, "e": (1, "x")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.0, None], "c": {"d": None}, "e": [1, "x"]}


def test_progress_is_silent_without_a_terminal(capsys):
    with progress("working", 1.0, patience=0.0) as on_progress:
        on_progress(0.1, 0.2)
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_progress_shows_text_and_size_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with progress("working", 9.0, patience=0.0) as on_progress:
        time.sleep(0.1)
        on_progress(0.1, 0.25)
        time.sleep(0.3)
    assert "working" in terminal.getvalue()
    assert "0.25" in terminal.getvalue()


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("working", 9.0) as on_progress:
        on_progress(0.0, 1.0)
    assert terminal.getvalue().strip() == ""


def test_staged_folder_appears_whole(tmp_path):
    with staged(tmp_path / "a/b", "key") as staging:
        (staging / "key").write_text("k")
        (staging / "other").write_text("o")
        assert not (tmp_path / "a/b/key").exists()
    assert sorted(path.name for path in (tmp_path / "a/b").iterdir()) == ["key", "other"]


def test_staged_failure_changes_nothing(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old/key").write_text("old")
    for folder in ("old", "new/deep"):
        with pytest.raises(InputError, match=str(tmp_path / folder)), staged(tmp_path / folder, "key") as staging:
            (staging / "key").write_text("new")
            raise InputError(f"cannot write {staging}/other")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old/key").read_text() == "old"


def test_staging_needs_nothing_beside_the_folder(tmp_path):
    (tmp_path / "mount").mkdir()
    before = set(tmp_path.iterdir())
    with staged(tmp_path / "mount", "key") as staging:
        (staging / "key").write_text("k")
        assert set(tmp_path.iterdir()) == before
    assert [path.name for path in (tmp_path / "mount").iterdir()] == ["key"]


def test_a_disk_error_names_the_users_folder(tmp_path, monkeypatch):
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(InputError) as told, staged(tmp_path / "new/out", "key") as staging:
        (staging / "key").write_text("k")
    assert str(told.value) == f"cannot write into {tmp_path / 'new/out'}: Permission denied; choose another place"
    assert list(tmp_path.iterdir()) == []


def test_a_probe_leaves_nothing(tmp_path):
    (tmp_path / "here").mkdir()
    probe(tmp_path / "here")
    probe(tmp_path / "not/yet")
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_summary_keeps_paths_whole_and_reads_no_markup(capsys):
    path = "o[/y]z[bold]/" + "x" * 100
    print_summary("ROBUST", "label [red]3 stays", [("record", path), ("prover calls", "none")])
    assert capsys.readouterr().out == f"ROBUST  label [red]3 stays\n  record        {path}\n  prover calls  none\n"


def test_a_folder_in_the_way_leaves_all_as_it_was(tmp_path):
    (tmp_path / "key").write_text("old")
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="other: it is a folder"), staged(tmp_path, "key") as staging:
        (staging / "key").write_text("new")
        (staging / "other").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "other"]
    assert (tmp_path / "key").read_text() == "old"


def test_a_path_that_is_none(tmp_path):
    with pytest.raises(InputError, match="cannot write into"):
        probe(tmp_path / "a\0b")
