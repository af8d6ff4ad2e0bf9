"""Pixels that several tiles see, divided in all of these at once: branch and bound over a sum of tiles.

What the tiles' minima lack is that their copies of a pixel disagree. Where few pixels are shared it pays to halve the
range of one of these, which ties its copies together; each half begins with all that the tiles' searches know (dual
decomposition with branching on what disagrees, Carøe & Schultz 1999).
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from math import inf

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aureole.verify.shares import Share, Sum, grow

SECOND = 0.1
"""How much the dearer of two ways to agree counts."""

SHORT = 0.5
"""Tiles grow on while their room is more than this share of what the floor lacks ..."""

SLOW = 0.005
"""... and each time the floor rises by so much of it."""

PART = 0.2
"""Of a usual growth, between two looks at the sum."""

ASIDE = 0.04
"""Pixels are divided beside the middle between two copies, by so much of what is between them: else the halves of the
tiles' own searches would often end there, too, and stand in both."""

ALIKE = 1e-6
"""Copies of a pixel that differ by less (in the same unit) agree."""


Stop = Callable[[], bool]
"""Whether time is over."""

Places = Mapping[int, Mapping[int, int]]
"""Of each shared pixel (of the image): the tiles that see it, and where it is among a tile's pixels."""


def divide(
    total: Sum,
    enough: float,
    turns: int,
    threads: int,
    stop: Stop,
    met: Callable[[Float[Tensor, "*shape"]], bool],
) -> float:
    """A proved lower bound of a row, above `enough` where the search comes so far.

    total: its trees keep their cases
    turns: tiles grow so often at most, `threads` of them at the same time
    met:   takes the image at which the tiles are worst, each pixel in the middle of its copies; true ends the search
    """
    places, waiting, numbers, least = _places(total), [(total.floor, 0, total)], count(1), inf
    with ThreadPoolExecutor(threads) as pool:
        while waiting and turns > 0 and not stop():
            floor, _, node = heapq.heappop(waiting)
            turns -= 1 + _grow(node, enough, SHORT, SLOW, turns, threads, stop, pool)
            pixel = _costliest(node, places)
            if pixel is None:  # all agree: what the floor lacks is in the tiles
                turns -= _grow(node, enough, 0.0, 0.0, turns, threads, stop, pool)
            floor = max(floor, node.floor)
            if floor > enough:
                least = min(least, floor)
                continue
            if met(_image(node)) or pixel is None:
                least = min(least, floor)
                break
            halves = _halves(node, places[pixel])
            grow([half.shares[b] for half in halves for b in places[pixel]], pool, stop, PART)
            for half in halves:
                heapq.heappush(waiting, (max(floor, half.floor), next(numbers), half))
    return min([least, *(floor for floor, _, _ in waiting)])


def _places(total: Sum) -> Places:
    """The pixels that several tiles see."""
    places: dict[int, dict[int, int]] = defaultdict(dict)
    for b, share in enumerate(total.shares):
        for place, pixel in enumerate(share.part.tile.pixels.moved.tolist()):
            places[pixel][b] = place
    return {pixel: seen for pixel, seen in places.items() if len(seen) > 1}


def _grow(
    node: Sum, enough: float, short: float, slow: float, turns: int, threads: int, stop: Stop, pool: Executor
) -> int:
    """The widest tiles, until their room is a small part of what the floor lacks or it rises slowly; how often."""
    for turn in range(turns):
        widest, floor = node.widest(threads), node.floor
        lack = enough - floor
        if lack < 0 or not widest or sum(share.room for share in node.shares) <= short * lack or stop():
            return turn
        grow(widest, pool, stop, PART)
        if node.floor - floor < slow * lack:
            return turn + 1
    return turns


def _costliest(node: Sum, places: Places) -> int | None:
    """The shared pixel on which tiles insist most: what it would cost them to agree on one copy or the other."""
    most, found = 0.0, None
    for pixel, seen in places.items():
        copies = {b: float(node.shares[b].tree.point[place]) for b, place in seen.items()}
        low, high = min(copies.values()), max(copies.values())
        if high - low <= ALIKE:
            continue
        costs = [sum(_cost(node.shares[b], seen[b], to) for b in seen if copies[b] != to) for to in (low, high)]
        cost = min(costs) + SECOND * max(costs)
        if cost > most:
            most, found = cost, pixel
    return found


def _cost(share: Share, place: int, to: float) -> float:
    """Of moving one pixel of a tile's worst point."""
    point = share.tree.point.copy()
    point[place] = to
    return max(share.tree.value(point) - share.tree.ceiling, 0.0)


def _halves(node: Sum, seen: Mapping[int, int]) -> tuple[Sum, Sum]:
    """Both sides of a value between a pixel's copies."""
    copies = [float(node.shares[b].tree.point[place]) for b, place in seen.items()]
    low, high = min(copies), max(copies)
    between = float(np.float32((low + high) / 2 + ASIDE * (high - low)))

    def side(lower: float, upper: float) -> Sum:
        shares = list(node.shares)
        for b, place in seen.items():
            shares[b] = replace(shares[b], tree=shares[b].tree.within(place, lower, upper))
        return replace(node, shares=shares)

    return side(-1.0, between), side(between, 1.0)


def _image(node: Sum) -> Float[Tensor, "*shape"]:
    """Every pixel at the tiles' worst points, and in the middle between copies that disagree."""
    pixels = node.shares[0].part.tile.pixels
    copies = np.full((len(node.shares), pixels.middle.size), np.nan)
    for row, share in zip(copies, node.shares, strict=True):
        row[share.part.tile.pixels.moved] = share.tree.point
    between = np.nan_to_num(np.fmin.reduce(copies) + np.fmax.reduce(copies)) / 2  # 0, the middle, where none sees it
    return torch.from_numpy((pixels.middle + pixels.radius * between).reshape(pixels.shape))
