import copy
import math

import numpy as np
import pytest
import torch

from aureole.core import InputError
from aureole.train import BlackRectangle, LinfPgd, NoDefence, TrainingConfig, fit, top_k_accuracy

DEFENCES = [NoDefence(), BlackRectangle(1, 2), LinfPgd(radius=0.05, steps=2)]


class Stop(Exception):
    pass


def config(epochs=3, **changes):
    return TrainingConfig(epochs=epochs, steps=4, **changes)


def state(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def evaluate(make_bars):
    return lambda module: top_k_accuracy(module, [make_bars(200, 9)])


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: type(d).__name__)
def test_learns_the_bars(module, batches, evaluate, defence):
    before = evaluate(module)
    result = fit(module, batches, evaluate, config(15, defence=defence, rate=0.02))
    assert before < 0.5 < 0.9 < result.accuracy
    assert result.accuracy == evaluate(module)
    assert result.epochs[-1].loss < result.epochs[0].loss
    assert not module.training


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: type(d).__name__)
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, make_module, batches, evaluate, defence):
    whole, cut = make_module(), make_module()
    settings = config(4, defence=defence, seed=5)
    expected = fit(whole, batches, evaluate, settings)

    def stop_in_the_middle(progress):
        if progress.epoch == 3 and progress.step == 2:
            raise Stop

    path = tmp_path / "state"
    with pytest.raises(Stop):
        fit(cut, batches, evaluate, settings, checkpoint=path, on_progress=stop_in_the_middle)
    other = make_module(seed=77)  # its weights must come from the checkpoint
    seen = []
    result = fit(other, batches, evaluate, settings, checkpoint=path, resume=True, on_progress=seen.append)
    assert seen[0].epoch == 3
    assert same(state(other), state(whole))
    assert [(e.loss, e.accuracy) for e in result.epochs] == [(e.loss, e.accuracy) for e in expected.epochs]


def test_resuming_a_finished_training_trains_no_more(tmp_path, make_module, batches, evaluate):
    first, again = make_module(), make_module(seed=1)
    expected = fit(first, batches, evaluate, config(), checkpoint=tmp_path / "state")
    result = fit(again, batches, evaluate, config(), checkpoint=tmp_path / "state", resume=True)
    assert same(state(first), state(again)) and result == expected


def test_without_resume_a_checkpoint_is_ignored(tmp_path, make_module, batches, evaluate):
    first, again = make_module(), make_module()
    fit(first, batches, evaluate, config(), checkpoint=tmp_path / "state")
    steps = []
    fit(again, batches, evaluate, config(), checkpoint=tmp_path / "state", on_progress=steps.append)
    assert steps[0].epoch == 1 and same(state(first), state(again))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"rate": 0.5}, {"source": "other"}, {"defence": BlackRectangle()}])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, module, batches, evaluate, changes):
    fit(module, batches, evaluate, config(1), checkpoint=tmp_path / "state")
    with pytest.raises(InputError, match="another training"):
        fit(module, batches, evaluate, config(1, **changes), checkpoint=tmp_path / "state", resume=True)


@pytest.mark.parametrize("cut", [0, 10, 500])
def test_a_damaged_checkpoint_is_one_line(tmp_path, module, batches, evaluate, cut):
    path = tmp_path / "state"
    fit(module, batches, evaluate, config(1), checkpoint=path)
    path.write_bytes(path.read_bytes()[:cut])
    before = state(module)
    with pytest.raises(InputError, match="not a readable checkpoint") as caught:
        fit(module, batches, evaluate, config(1), checkpoint=path, resume=True)
    assert "\n" not in str(caught.value)
    assert same(state(module), before)


def test_a_changed_bit_is_not_read(tmp_path, module, batches, evaluate):
    path = tmp_path / "state"
    fit(module, batches, evaluate, config(1), checkpoint=path)
    whole = path.read_bytes()
    for place in range(5, len(whole), len(whole) // 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(InputError, match="not a readable checkpoint"):
            fit(module, batches, evaluate, config(1), checkpoint=path, resume=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, module, batches, evaluate):
    fit(module, batches, evaluate, config(1), checkpoint=tmp_path / "state")
    with pytest.raises(InputError, match="another network"):
        fit(torch.nn.Linear(2, 2), batches, evaluate, config(1), checkpoint=tmp_path / "state", resume=True)


def test_dropout_goes_on_as_if_never_stopped(tmp_path, make_module, batches, evaluate):
    def with_dropout():
        return torch.nn.Sequential(torch.nn.Dropout(0.3), make_module())

    whole, cut = with_dropout(), with_dropout()
    before = torch.get_rng_state()
    fit(whole, batches, evaluate, config(3))
    assert torch.equal(torch.get_rng_state(), before)
    path = tmp_path / "state"

    def stop(progress):
        if progress.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(cut, batches, evaluate, config(3), checkpoint=path, on_progress=stop)
    torch.rand(7)
    again = with_dropout()
    fit(again, batches, evaluate, config(3), checkpoint=path, resume=True)
    assert same(state(again), state(whole))


def test_accuracies_of_numpy_are_kept(tmp_path, module, batches):
    path = tmp_path / "state"
    fit(module, batches, lambda _: np.float64(0.5), config(1), checkpoint=path)
    assert fit(module, batches, lambda _: 0.5, config(1), checkpoint=path, resume=True).accuracy == 0.5


@pytest.mark.parametrize("changes", [{"rise": 1.0}, {"rise": math.nan}, {"weight_decay": -1.0}, {"seed": 2**60}])
def test_settings_that_cannot_train_are_told(changes):
    with pytest.raises(InputError, match="pass a"):
        config(**changes)


def test_the_seed_decides_the_defence(make_module, batches, evaluate):
    trained = []
    for seed in (0, 0, 1):
        module = make_module()
        fit(module, batches, evaluate, config(1, defence=BlackRectangle(1, 2), seed=seed))
        trained.append(state(module))
    assert same(trained[0], trained[1]) and not same(trained[0], trained[2])


def test_each_epoch_and_seed_draws_its_own_randomness(make_module, batches, evaluate):
    class Spy(NoDefence):
        def apply(self, module, images, labels, progress, generator):
            seeds.add(generator.initial_seed())
            return images

    seen: list[set[int]] = []
    for seed in (0, 1):
        seeds: set[int] = set()
        fit(make_module(), batches, evaluate, config(3, defence=Spy(), seed=seed))
        assert len(seeds) == 3
        seen.append(seeds)
    assert not seen[0] & seen[1]


def test_training_leaves_global_randomness_alone(module, batches, evaluate):
    before = torch.get_rng_state()
    fit(module, batches, evaluate, config(1, defence=LinfPgd(steps=1)))
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_counts_every_step_and_epoch(module, batches, evaluate):
    seen = []
    result = fit(module, batches, evaluate, config(2), on_progress=seen.append)
    assert [(p.epoch, p.step, len(p.finished)) for p in seen] == [
        *[(1, s, 0) for s in (1, 2, 3, 4)], (1, 4, 1), *[(2, s, 1) for s in (1, 2, 3, 4)], (2, 4, 2)
    ]  # fmt: skip
    assert seen[-1].finished == result.epochs


def test_divergence_is_one_line(module, batches, evaluate):
    def poisoned(epoch):
        return [(images * torch.inf, labels) for images, labels in batches(epoch)]

    with pytest.raises(InputError, match="lower learning rate"):
        fit(module, poisoned, evaluate, config(1))


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"rate": 0.0}, {"rate": float("nan")}])
def test_impossible_settings_are_one_line(changes):
    with pytest.raises(InputError):
        config(**changes)


def test_no_batches_is_one_line(module, evaluate):
    untouched = copy.deepcopy(module)
    with pytest.raises(InputError, match="no batch"):
        fit(module, lambda _: [], evaluate, config(1))
    assert same(state(module), state(untouched))
