"""The summary of a batch, from lines as `aureole neighborhoods` writes them."""

from aureole.report.batch import cells, sentences, summarise


def line(network, scene, size, target=1, other=2, status="done", **more):
    base = {"network": network, "scene": scene, "image_sha256": scene, "target": target, "object": other, "k": 2,
            "status": status, "why": ""}  # fmt: skip
    if status != "done":
        return base
    result = {
        "verdict": "ROBUST" if size else "UNKNOWN",
        "size": size,
        "seconds": 10 * size,
        "maximal": True,
        "gap": None,
    }
    return base | result | more


LINES = [
    line("a", "s1", 1.0, gap=0.2),
    line("a", "s2", 3.0, maximal=False, gap=0.4),
    line("a", "s3", 0.0, maximal=None),
    line("a", "s4", 9.0),
    line("a", "s5", 0, status="failed"),
    line("b", "s1", 4.0),
    line("b", "s2", 6.0),
    line("b", "s3", 0.5),
    line("b", "s4", 0, status="not recognised"),
]


def test_a_row_per_network():
    a, b = summarise(LINES)
    assert a == {
        "network": "a", "cases": 4, "proved": 3, "median_size": 2.0, "median_seconds": 20.0, "share_maximal": 2 / 3,
        "median_gap": 0.30000000000000004, "not_done": {"failed": 1},
    }  # fmt: skip
    assert (b["cases"], b["median_size"], b["median_gap"], b["not_done"]) == (3, 4.0, None, {"not recognised": 1})
    assert cells([a, b])[0] == ("a", "4", "3", "2", "20", "67 %", "30 %", "1")
    assert cells([b])[0][6] == "–"


def test_only_shared_cases_are_compared():
    said = sentences(LINES)
    assert said[0] == (
        "b is the more robust: on the 3 cases that every network answered, its median size 4 is 4 times a's; its "
        "neighborhood is the largest in 3 of 3."
    )
    assert said[1:] == [
        "1 not recognised: the network does not rank the target high enough on the scene itself.",
        "1 failed: the work broke off twice or raised an error, see the lines.",
    ]
    apart = [line("a", "s1", 1.0), line("b", "s2", 2.0)]
    assert sentences(apart) == ["No case was answered for every network, so the networks are not compared."]


def test_a_network_that_proves_nothing():
    said = sentences([line("a", "s1", 0.0), line("b", "s1", 2.0), line("c", "s1", 1.0)])
    assert "b is the most robust" in said[0]
    assert "is 2 times c's and above 0, unlike a's" in said[0]


def test_equal_networks():
    assert "No network is the more robust" in sentences([line("a", "s1", 2.0), line("b", "s1", 2.0)])[0]


def test_objects():
    lines = [
        line("a", "s1", 1.0, other=3), line("b", "s1", 2.0, other=3),
        line("a", "s2", 9.0, other=4), line("b", "s2", 8.0, other=4),
    ]  # fmt: skip
    _, around = sentences(lines)
    assert around == (
        "Most may change around object 4 (median size 8.5, 1 case), least around object 3 (1.5, 1 case). Which network "
        "allows the most depends on the object: a around 4; b around 3."
    )
    assert sentences(lines[::2])[0].startswith("Most may change around object 4 (median size 9")
    better = [*lines[:2], line("a", "s2", 9.0, other=4), line("b", "s2", 10.0, other=4)]
    assert sentences(better)[1].endswith("b allows the most around every object.")


def test_nothing_at_all():
    assert summarise([]) == []
    assert sentences([]) == []
