import json

import pytest

STANDINGS = ("in", "out", "both", "unknown")


def labels(files, *more: str) -> list[str]:
    return ["labels", files.net, files.image, "--k", "2", *more]


def test_one_json_object(command, files):
    done = command(*labels(files, "--radius", "0", "--json"))
    assert (done.status, done.err) == (0, "")
    answer = json.loads(done.out)
    assert (answer["k"], answer["radius"], answer["settled"]) == (2, 0, 10)
    rows = answer["labels"]
    assert [row["label"] for row in rows] == list(range(10))
    assert sorted(row["standing"] for row in rows) == ["in"] * 2 + ["out"] * 8
    assert rows[int(files.target)]["standing"] == "in"
    assert rows[int(files.other)]["standing"] == "out"
    for row in rows:
        proved, broken = ("stays_in", "stays_out") if row["standing"] == "in" else ("stays_out", "stays_in")
        assert row[proved]["verdict"] == "ROBUST" and row[proved]["margin_bound"] > 0
        assert row[broken]["verdict"] == "VULNERABLE" and row[broken]["margin_seen"] <= 0


def test_every_standing_adds_up(command, files):
    answer = json.loads(command(*labels(files, "--radius", "1", "--timeout", "2", "--json")).out)
    assert {row["standing"] for row in answer["labels"]} <= set(STANDINGS)
    assert answer["settled"] == sum(row["standing"] != "unknown" for row in answer["labels"])
    assert any(row["standing"] == "both" for row in answer["labels"])
    for row in answer["labels"]:
        assert bool(row["detail"]) == (row["standing"] == "unknown")


def test_a_table_for_people(command, files):
    done = command(*labels(files, "--radius", "0"))
    assert (done.status, done.err) == (0, "")
    first, *table, last = done.out.splitlines()
    assert first.startswith("Among the 2 highest scores of net")
    assert [line.split()[:2] for line in table[1:]][int(files.target)] == [files.target, "in"]
    assert last.startswith("10 of 10 settled")


def test_what_is_open_is_told(command, files):
    done = command(*labels(files, "--radius", "0.01", "--timeout", "1e-9"))
    assert "can it leave?" in done.out and "can it enter?" in done.out
    assert "0 of 10 settled" in done.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--k", "10"), "--k 10 does not fit 10 classes"),
        (("--radius", "-1"), "--radius is -1"),
        (("--timeout", "0"), "--timeout is 0"),
        (("--seed", "-1"), "--seed is -1"),
    ],
)
def test_bad_input_is_one_line(command, files, options, told):
    line = labels(files, "--radius", "0.1")
    assert told in command(*line, *options).complaint


def test_a_margin_is_never_said_to_be_more_than_is_proved(command, files):
    bounds = [[row[side]["margin_bound"] for side in ("stays_in", "stays_out") if row[side]["verdict"] == "ROBUST"]
              for row in json.loads(command(*labels(files, "--radius", "0", "--json")).out)["labels"]]  # fmt: skip
    shown = [float(text.split()[3]) for text in command(*labels(files, "--radius", "0")).out.splitlines()[2:-1]]
    assert len(shown) == 10
    for (bound,), said in zip(bounds, shown, strict=True):
        assert bound * (1 - 1e-3) < said <= bound
