import torch
from hypothesis import given
from hypothesis import strategies as st

from aureole.train import multi_hot, multi_label_loss, top_k_accuracy, top_k_hits


def test_multi_hot():
    assert multi_hot(torch.tensor([[2, 0], [1, 2]]), 4).tolist() == [[1, 0, 1, 0], [0, 1, 1, 0]]


def test_loss_falls_as_the_labels_rise_and_has_its_least_there():
    labels = torch.tensor([[1, 3]])
    logits = torch.zeros(1, 5)
    raised = logits.clone()
    raised[0, [1, 3]] = 2.0
    assert multi_label_loss(raised, labels) < multi_label_loss(logits, labels)
    raised[0, 0] = 6.0
    assert multi_label_loss(raised, labels) > multi_label_loss(logits, labels)


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_a_hit_is_the_labels_filling_the_top(seed, k):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(20, 5, generator=generator)
    labels = torch.rand(20, 5, generator=generator).argsort(dim=1)[:, :k]
    for hit, scores, wanted in zip(top_k_hits(logits, labels), logits.tolist(), labels.tolist(), strict=True):
        best = sorted(range(5), key=lambda c: -scores[c])[:k]
        assert bool(hit) == (set(best) == set(wanted))


def test_accuracy_weighs_scenes_not_batches():
    labels = torch.tensor([[0], [0], [1]])
    logits = torch.tensor([[1.0, 0.0]] * 3)
    batches = [(logits[:2], labels[:2]), (logits[2:], labels[2:])]
    assert top_k_accuracy(torch.nn.Identity(), batches) == 2 / 3
