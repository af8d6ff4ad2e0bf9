import torch
from PIL import Image

from aureole.core import Scene
from aureole.report.scene import draw_scene


def test_scene_picture(tmp_path, two_blocks):
    image, left, right = two_blocks
    draw_scene(Scene(image, (7, 3), (left, right), "costs $^$ or $x"), tmp_path / "scene.png")
    colours = {tuple(c) for _, c in Image.open(tmp_path / "scene.png").convert("RGB").getcolors(1 << 20)}
    assert {(0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)} <= colours


def test_colour_image(tmp_path, two_blocks):
    image, left, _ = two_blocks
    draw_scene(Scene(torch.cat([image, image, 0 * image]), (7,), (left,)), tmp_path / "scene.png")
    assert (tmp_path / "scene.png").stat().st_size > 1000
