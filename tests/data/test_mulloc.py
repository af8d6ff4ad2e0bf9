import pytest
import torch
from PIL import Image

from aureole.core import InputError
from aureole.data import author_cases
from aureole.data.mulloc import _RANKINGS


def write_case(
    root, attacked=7, rankings="noDef:7-3-0-1-2-4-5-6-8-9;noDef:3-7-0-1-2-4-5-6-8-9;L0Def:3-7-9-8-6-5-4-2-1-0"
):
    folder = root / "mulloc" / "samples" / "dmnist"
    folder.mkdir(parents=True)
    picture = Image.new("L", (64, 64))
    picture.putpixel((5, 9), 200)
    picture.putpixel((40, 50), 255)
    picture.save(folder / "a.png")
    (folder / "labels.csv").write_text(
        f"file,labels,label_names,{_RANKINGS},attacked_label\na.png,3-7,,{rankings},{attacked}\n"
    )
    (folder / "objects.csv").write_text("file,left_digit,right_digit,order_known_from\na.png,7,3,file name\n")
    return folder


def test_target_object_and_masks(tmp_path):
    write_case(tmp_path)
    (case,) = author_cases(tmp_path)
    assert (case.target, case.object, case.scene.labels, case.scene.name) == (7, 3, (7, 3), "a")
    assert case.scene.mask(case.object).nonzero().tolist() == [[50, 40]]
    assert case.scene.mask(case.target).nonzero().tolist() == [[9, 5]]
    assert [r[:2] for r in case.rankings["noDef"]] == [(7, 3), (3, 7)]
    assert len(case.rankings["L0Def"]) == 1


@pytest.mark.parametrize(
    ("change", "words"), [({"attacked": 5}, "attacked label 5"), ({"rankings": "noDef"}, "bad row")]
)
def test_damaged_rows_are_one_line(tmp_path, change, words):
    write_case(tmp_path, **change)
    with pytest.raises(InputError, match=words):
        author_cases(tmp_path)


def test_an_absent_or_wrong_table_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"objects\.csv"):
        author_cases(tmp_path)
    folder = write_case(tmp_path)
    rows = (folder / "labels.csv").read_text()
    for damaged, words in ((rows + "b.png\n", "bad row for b.png"), (rows + "x" * 200_000 + "\n", "damaged")):
        (folder / "labels.csv").write_text(damaged)
        with pytest.raises(InputError, match=words):
            author_cases(tmp_path)
    (folder / "labels.csv").write_text("file,labels\na.png,3-7\n")
    with pytest.raises(InputError, match="no column attacked_label"):
        author_cases(tmp_path)


@pytest.mark.shared
def test_the_thirty_cases(data_root):
    cases = author_cases(data_root)
    assert len(cases) == 30
    for case in cases:
        assert {case.target, case.object} == set(case.scene.labels)
        assert set(case.rankings) == {"noDef", "L0Def", "LInfDef"}
        assert torch.equal(case.scene.masks[0] | case.scene.masks[1], case.scene.image[0] > 0)
