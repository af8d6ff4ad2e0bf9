"""What a command reads: the network, the image with its mask, radii and weights."""

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aureole import nets
from aureole.core import Graph, InputError, Rings, times
from aureole.core.errors import first_line
from aureole.core.files import read_bytes
from aureole.core.graph import check_finite, taking
from aureole.core.rings import check_edges
from aureole.core.scene import check_mask
from aureole.data import read_image, read_mask
from aureole.neighborhood.problem import WEIGHTS, named_weights


def check_names(networks: Sequence[nets.Network]) -> None:
    """InputError where two have one name: results are kept and shown by that."""
    names = [network.name for network in networks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two of the networks have the same name {twice}; rename one file")


def read_network(
    name: str,
    arch: str | None,
    root: Path | None,
    mean: str | Sequence[float] | None = None,
    std: str | Sequence[float] | None = None,
) -> tuple[nets.Network, Graph]:
    """The network and its graph; InputError when either cannot be had or a weight is not finite.

    mean, std: the normalisation before it, as on the command line (`options.Mean`) or as numbers
    """
    network = nets.load(name, arch, root, mean=read_scales("--mean", mean), std=read_scales("--std", std))
    graph = network.graph
    check_finite(graph)
    return network, graph


def read_fitting_image(path: Path, graph: Graph) -> Float[Tensor, "channels height width"]:
    """An image of the network's shape."""
    image = read_image(path)
    if tuple(image.shape) != tuple(graph.input_shape):
        raise InputError(
            f"{path} is {times(image.shape)} but the network takes {times(graph.input_shape)}; "
            "pass an image of the network's shape"
        )
    return image


def read_scales(option: str, text: str | Sequence[float] | None) -> Sequence[float] | None:
    """Numbers separated by commas (or numbers already); None where the option is left out."""
    if not isinstance(text, str):
        return text
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} is {text!r}; pass numbers separated by commas, as 0.485,0.456,0.406") from error


def read_image_for(path: Path, graph: Graph) -> tuple[Float[Tensor, "channels height width"], Graph]:
    """An image, and the graph that takes it as it is: a network over a vector reads a grey image row by row."""
    image = read_image(path)
    fitting = taking_image(graph, image)
    return (image, fitting) if image.shape == fitting.input_shape else (read_fitting_image(path, graph), graph)


def taking_image(graph: Graph, image: Float[Tensor, "channels height width"]) -> Graph:
    """The graph for grey images of this shape where it takes as many numbers as a vector; else the graph itself.

    Also where the two shapes differ by axes of length 1 alone.
    """
    wanted, given = ([n for n in shape if n > 1] for shape in (graph.input_shape, image.shape))
    same = len(image) == 1 and (wanted == given or (len(wanted) <= 1 and math.prod(wanted) == image.numel()))
    return taking(graph, tuple(image.shape)) if same else graph


def read_fitting_mask(path: Path, image: Float[Tensor, "channels height width"]) -> Bool[Tensor, "height width"]:
    """A mask of the image's height and width that marks at least one pixel."""
    mask = read_mask(path)
    check_mask(mask, image)
    return mask


def read_radii(path: Path, rings: Rings) -> Float[Tensor, "rings"]:
    """One radius per ring from `.npy`, JSON or plain text.

    JSON is a list, or an object with `radii` (what `aureole neighborhood --json` prints, or its record.json); where
    that object says that they belong to `bands` of rings, each ring gets its band's.
    InputError unless there is one finite radius >= 0 per ring.
    """
    data = read_bytes(path, "a file with one radius per ring")
    try:
        values = np.load(io.BytesIO(data), allow_pickle=False) if path.suffix == ".npy" else _numbers(data.decode())
        radii = torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (ValueError, TypeError, EOFError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} does not hold radii ({first_line(error)}); pass a JSON list, text or .npy of one number per ring"
        ) from error
    return check_radii(radii, rings, str(path))


def check_radii(radii: Float[Tensor, "..."], rings: Rings, where: str) -> Float[Tensor, "rings"]:
    """The radii; InputError, naming `where` they stand, unless there is one finite radius >= 0 per ring."""
    if radii.shape != (len(rings),):
        raise InputError(f"{where} holds {radii.numel()} radii for {len(rings)} rings; give one radius per ring")
    for ring, radius in enumerate(radii.tolist()):
        if not 0 <= radius < float("inf"):
            raise InputError(f"{where}: the radius of ring {ring} is {radius:g}; pass finite radii >= 0")
    return radii


def _numbers(text: str) -> list[float]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return [float(word) for word in text.replace(",", " ").split()]
    if isinstance(content, dict):
        content = content.get("result", content)  # a record, or what --json prints
        if not isinstance(content, dict) or "radii" not in content:
            raise ValueError('its object has no "radii"')
        content = _unbanded(content["radii"], content.get("bands"))
    values = content if isinstance(content, list) else [content]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{json.dumps(value)[:20]} is not a number")
    return [float(value) for value in values]


def _unbanded(radii: Any, bands: Any) -> Any:
    """One radius per ring when the radii are of bands, given as [first ring, last ring]; else the radii themselves."""
    if not bands:
        return radii
    if not isinstance(radii, list) or len(radii) != len(bands):
        raise ValueError(f"it has {len(bands)} bands but not as many radii")
    return [radius for radius, (first, last) in zip(radii, bands, strict=True) for _ in range(first, last + 1)]


def read_weights(text: str, rings: Rings) -> Float[Tensor, "rings"]:
    """Weights by name, or as a comma-separated list of one number per ring."""
    if text in WEIGHTS:
        return named_weights(text, rings)
    try:
        return torch.tensor([float(word) for word in text.split(",")], dtype=torch.float64)
    except ValueError:
        return named_weights(text, rings)  # tells the names that exist


def read_edges(text: str) -> tuple[int, ...]:
    """The first ring of each band from a comma-separated list; `Rings.banded` says which lists make bands."""
    try:
        edges = tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise InputError(f"--bands {text!r} is not a list of rings; pass e.g. 0,1,4,16") from error
    check_edges(edges)
    return edges


def read_limits(option: str, text: str) -> float | Float[Tensor, "rings"]:
    """One radius for all rings, or a comma-separated list of one per ring."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not a number or a list of them; pass e.g. 0.01") from error
    return values[0] if len(values) == 1 else torch.tensor(values, dtype=torch.float64)
