"""Scenes: generated from real handwriting, or read from files."""

from aureole.data.digit_set import DigitSet
from aureole.data.digits import load_source_digits
from aureole.data.mnist import load_mnist
from aureole.data.mulloc import AuthorCase, author_cases
from aureole.data.named import named_digits
from aureole.data.pixels import read_image, read_mask
from aureole.data.scene_files import read_scene, write_scene
from aureole.data.scenes import Batch, make_batch, make_scene, make_scenes

__all__ = [
    "AuthorCase",
    "Batch",
    "DigitSet",
    "author_cases",
    "load_mnist",
    "load_source_digits",
    "make_batch",
    "make_scene",
    "make_scenes",
    "named_digits",
    "read_image",
    "read_mask",
    "read_scene",
    "write_scene",
]
