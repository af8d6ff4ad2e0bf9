import itertools

import pytest
import torch

from aureole.verify.hints import Mix
from aureole.verify.known import Known
from nets_zoo import F64, draw, seeded


def told(seed: int, order: int) -> tuple[Known, torch.Tensor]:
    """What stages may have found out about rows whose values at a few images are all there is."""
    g = seeded(seed)
    count = order + int(torch.randint(0, 4, (1,), generator=g))
    values = draw(g, 6, count) + draw(g, count)
    lower = values.amin(0) - 2 * torch.rand(count, generator=g, dtype=F64) * (torch.rand(count, generator=g) < 0.7)
    left = [row for row in range(count) if float(lower[row]) <= 0.3]  # the others were proved
    mixes = {}
    for rows in itertools.combinations(left, order):
        least = float(values[:, list(rows)].amax(1).min())
        slip = float(torch.rand(1, generator=g)) * float(torch.rand(1, generator=g) < 0.7)
        mixes[rows] = Mix(least - slip, torch.full((order,), 1 / order, dtype=F64), {})
    return Known(lower=lower, mixes=mixes), values


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_bound_of_sets_is_below_every_margin(order):
    """Against all images, with every set known as exactly as it may be, or less; and it gains on the rows alone."""
    gained = 0
    for seed in range(300):
        known, values = told(seed, order)
        least = float(torch.kthvalue(values, order, dim=1).values.min())
        bound, alone = known.margin_bound(order), Known(lower=known.lower).margin_bound(order)
        assert bound is not None and alone is not None
        assert alone <= bound <= least + 1e-12
        gained += bound > alone + 1e-6
    assert gained > 50


def test_sets_that_are_exact_and_cover_all_rows_give_the_least_margin():
    g = seeded(7)
    values = draw(g, 20, 4)
    mixes = {
        rows: Mix(float(values[:, list(rows)].amax(1).min()), torch.full((2,), 0.5, dtype=F64), {})
        for rows in itertools.combinations(range(4), 2)
    }
    known = Known(lower=values.amin(0) - 5, mixes=mixes)
    assert known.margin_bound(2) == pytest.approx(float(values.kthvalue(2, dim=1).values.min()), abs=1e-12)
    first = next(iter(mixes))
    worse = known.mixed(first, Mix(-9.0, mixes[first].weights, {}))
    assert worse.margin_bound(2) == pytest.approx(max(-9.0, float(known.lower.kthvalue(2).values)))
    assert known.mixes == mixes  # a value is not changed by a better one


def test_without_rows_only_what_looks_at_all_of_them_counts():
    assert Known().margin_bound(1) is None
    assert Known(together=-2.0).margin_bound(1) == -2.0
    assert Known(lower=torch.tensor([-3.0, 1.0], dtype=F64), together=-2.0).margin_bound(1) == -2.0
    assert Known(lower=torch.tensor([-1.0, 1.0], dtype=F64), together=-2.0, mixes={}).margin_bound(1) == -1.0
