import pytest

from aureole.campaign import Journal
from aureole.core import InputError


def test_lines_come_back_in_order(tmp_path):
    journal = Journal(tmp_path / "deep/cases.jsonl")
    assert journal.read() == []
    for n in range(3):
        journal.add({"case": f"é{n}", "value": n / 3})
    assert journal.read() == [{"case": f"é{n}", "value": n / 3} for n in range(3)]


@pytest.mark.parametrize("rest", [b'{"case": "hal', b"\xc3"])
def test_a_line_cut_by_a_killed_run_is_dropped(tmp_path, rest):
    journal = Journal(tmp_path / "cases.jsonl")
    journal.add({"case": "whole"})
    with journal.path.open("ab") as file:
        file.write(rest)
    assert journal.read() == [{"case": "whole"}]
    journal.add({"case": "next"})
    assert journal.read() == [{"case": "whole"}, {"case": "next"}]


@pytest.mark.parametrize("line", ["nonsense", "[1]", "[" * 100_000])
def test_a_line_that_is_no_object_is_told(tmp_path, line):
    journal = Journal(tmp_path / "cases.jsonl")
    journal.path.write_text(f'{{"case": "a"}}\n{line}\n')
    with pytest.raises(InputError, match="line 2 is not a JSON object"):
        journal.read()


def test_a_refusing_disk_is_told(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Journal(tmp_path / "taken/cases.jsonl").add({})
    with pytest.raises(InputError, match="cannot read"):
        Journal(tmp_path).read()
