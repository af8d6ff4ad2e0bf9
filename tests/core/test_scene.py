import torch

from aureole.core import Scene
from nets_zoo import F64


def test_two_objects_of_one_label():
    """Found in review: the second one was taken for background."""
    masks = [torch.zeros(2, 3, dtype=torch.bool) for _ in range(3)]
    for n, mask in enumerate(masks):
        mask[0, n] = True
    scene = Scene(torch.zeros(1, 2, 3, dtype=F64), (6, 4, 6), tuple(masks))
    assert scene.distinct_labels == (6, 4)
    assert torch.equal(scene.mask(6), masks[0] | masks[2])
    assert torch.equal(scene.mask(4), masks[1])
