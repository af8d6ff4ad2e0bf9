import pytest
import torch

from aureole.core import InputError
from aureole.core import files as module
from aureole.core.files import read_bytes, write_bytes
from aureole.core.record import Array, Record, digest, read_record, write_record


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a/b/file"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert read_bytes(path, "x") == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("broken", ["write", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((module.os, "fsync") if broken == "write" else (module.Path, "replace")), full)
    with pytest.raises(InputError, match="No space left on device") as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_bytes(tmp_path / "file/inner", b"x")
    with pytest.raises(InputError, match="pass a picture"):
        read_bytes(tmp_path / "nothing", "a picture")


def test_records_come_back(tmp_path):
    record = Record(kind="prove", network={}, image={}, config={"seed": 1}, result={"x": 0.1})
    arrays = {str(Array.RADII): torch.rand(3, dtype=torch.float64), str(Array.IMAGE): torch.rand(1, 2, 2).mT}
    write_record(tmp_path / "run", record, arrays)
    again, same = read_record(tmp_path / "run")
    assert again == record
    assert all(torch.equal(same[k], arrays[k]) for k in arrays)


def test_damaged_records_are_told(tmp_path):
    with pytest.raises(InputError, match="written by an aureole command"):
        read_record(tmp_path)
    write_record(tmp_path, Record(kind="prove", network={}, image={}, config={}, result={}), {})
    (tmp_path / "arrays.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="damaged"):
        read_record(tmp_path)
    (tmp_path / "record.json").write_text('{"kind": 3}')
    with pytest.raises(InputError, match="not a record"):
        read_record(tmp_path)


def test_a_digest_sees_names_shapes_and_values():
    a = torch.arange(6, dtype=torch.float64)
    base = digest({"a": a})
    assert digest({"a": a.clone()}) == base
    assert digest({"a": a.to(torch.float32)}) == base  # the same values
    others = [{"b": a}, {"a": a.reshape(2, 3)}, {"a": a + 1e-15}, {"a": a, "b": a}]
    assert len({base, *map(digest, others)}) == 5
