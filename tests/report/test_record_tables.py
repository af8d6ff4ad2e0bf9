from aureole.core.record import read_record
from aureole.report.tables import COLUMNS, rows


def test_one_row_per_neighborhood(write_neighborhood):
    record, _ = read_record(write_neighborhood())
    (row,) = rows([record])
    cells = dict(zip(COLUMNS, row, strict=True))
    assert cells["network"] == "digits-none"
    assert (cells["target"], cells["object"]) == ("3", "7")
    assert cells["min"] == "0"
    assert cells["max"] == "1"
    assert cells["maximal"] == "3 open"


def test_unproved_and_unlooked_at(write_neighborhood):
    record, _ = read_record(write_neighborhood(verdict="UNKNOWN", maximal=None))
    cells = dict(zip(COLUMNS, rows([record])[0], strict=True))
    assert (cells["size"], cells["maximal"]) == ("not proved", "–")


def test_other_records_give_no_row(write_prove):
    assert rows([read_record(write_prove())[0]]) == []
