"""Bounds of a sum of maxima in parts of its box, compiled; one long file, since numba keeps what it compiled by file.

They are lower bounds, climbed by gradient (`compiled` does the compiling). numba looks at the file of the function
called alone: a change in another one would go unnoticed.

Going backward from the row, a maximum that the row wants low (coefficient a >= 0) lies above every mix of its
candidates z_j. One that it wants high (a < 0) lies below a plane over the ranges of its z_j, or is *decided*:
-max_j z_j is the least of the -z_j, so the cases "z_j is what counts" may be bounded one by one, without constraints
between them.

Of a cell's relus that the row wants high, the pieces of those that cost most are tried together, in closed
form. Where cells share pixels each takes its own copy, and prices make the copies agree.

The value is concave in what each maximum's plane and mix contribute; its gradient comes from one pass up, which
carries the pixels at which the bound is least.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from aureole.verify.compiled import compiled, inner

PIECES = 4
"""So many relus of a cell at most have their pieces tried together."""

RATES = (0.4, 0.15, 0.25)
"""Learning rates of mixes, of planes and slopes, and of prices (in units of what the cell's relus can change)."""

DECAYS = (0.7, 0.95)
"""Of Adam's two means."""

END = 0.1
"""Rates fall to this share of their first value."""

WORTH = 0.01
"""A division must be about so large a share of what the case gives away; else the climb has not arrived yet."""

NARROW = 1e-3
"""Ranges of pixels are not halved below this half width (1 is the region's)."""

DECIDED = 1e-9
"""What a maximum that is still open counts at least, in score units, where the bound gives nothing away."""

ROUNDED = 1e-9
"""By so much are ranges widened that were added up from rounded numbers."""

AGAIN, FINISHED = -1, -2
"""In place of what to divide: climb on, or nothing is left to do."""


class Maxima(NamedTuple):
    """A row as `objective @ variables + constant`.

    The variables are pixels in [-1, 1], then the relus of cells, then all other maxima, each after those it reads.
    A cell is a group of relus that read the same pixels and nothing else.

    relus, inputs: where each cell's begin, and the end
    reads:         the pixel of each input
    share:         of a pixel's coefficient, what the input takes at first: one over the number of cells that read it
    covered:       the pixels that some cell reads
    weight, bias:  of each relu, over its cell's inputs
    starts:        where each maximum's candidates begin, and the end
    rows, columns, slopes: the candidates' coefficients of earlier variables (compressed rows)
    constants, low, high:  of each candidate, with its proved range over the whole box
    """

    objective: Float[np.ndarray, "variables"]
    constant: float
    relus: Int[np.ndarray, "cells+1"]
    inputs: Int[np.ndarray, "cells+1"]
    reads: Int[np.ndarray, "inputs"]
    share: Float[np.ndarray, "inputs"]
    covered: Bool[np.ndarray, "pixels"]
    weight: Float[np.ndarray, "relus most"]
    bias: Float[np.ndarray, "relus"]
    starts: Int[np.ndarray, "maxima+1"]
    rows: Int[np.ndarray, "candidates+1"]
    columns: Int[np.ndarray, "entries"]
    slopes: Float[np.ndarray, "entries"]
    constants: Float[np.ndarray, "candidates"]
    low: Float[np.ndarray, "candidates"]
    high: Float[np.ndarray, "candidates"]

    @property
    def pixels(self) -> int:
        """How many there are."""
        return len(self.covered)


class Cases(NamedTuple):
    """What each case allows, and the free parameters of its bound; sound for any.

    allowed:    which candidates may count (among those is the largest, for every point of the case)
    parameters: the mixes' logits and the planes' slopes per candidate, the slopes of the lines below the cells' relus,
                and the inputs' prices
    lower, upper: the pixels' box
    """

    allowed: Bool[np.ndarray, "cases candidates"]
    parameters: Float[np.ndarray, "cases parameters"]
    lower: Float[np.ndarray, "cases pixels"]
    upper: Float[np.ndarray, "cases pixels"]


class Findings(NamedTuple):
    """What a climb found for each case.

    bounds:  proved lower bounds
    points:  where these are attained, nearly
    values:  the row's, there
    divided: what to divide: a maximum, a pixel (numbered after these), AGAIN, FINISHED
    """

    bounds: Float[np.ndarray, "cases"]
    points: Float[np.ndarray, "cases pixels"]
    values: Float[np.ndarray, "cases"]
    divided: Int[np.ndarray, "cases"]


class _Box(NamedTuple):
    """What follows from a case's box.

    middle, half: of the pixels
    center:       what the relus are taken of in the middle
    chord, offset: lines above the relus; exact where these do not switch
    open:         which relus may switch
    allowed, low, high: of the candidates
    """

    middle: np.ndarray
    half: np.ndarray
    center: np.ndarray
    chord: np.ndarray
    offset: np.ndarray
    open: np.ndarray
    allowed: np.ndarray
    low: np.ndarray
    high: np.ndarray


class _Lines(NamedTuple):
    """What the bound is made of.

    above:   the coefficient of each variable
    weights: of the candidates, in the mix or plane of their maximum
    rest:    the planes' constants
    top:     the candidate that decides each of these
    slope, exact: of the relus' lines, and whether these are pieces
    shares, lines: the inputs' coefficients without and with the relus' lines
    least:   of each cell
    taken:   of each pixel's coefficient by prices
    """

    above: np.ndarray
    weights: np.ndarray
    rest: np.ndarray
    top: np.ndarray
    slope: np.ndarray
    exact: np.ndarray
    shares: np.ndarray
    lines: np.ndarray
    least: np.ndarray
    taken: np.ndarray


@compiled
def climb(row: Maxima, cases: Cases, steps: int, rate: float, ceiling: float, again: bool, found: Findings) -> None:
    """Raise every case's bound by so many steps of Adam, keep the best parameters and say what to do next.

    rate:    of the steps, in units of RATES
    ceiling: bounds above it need to go no further
    again:   this is the second climb
    """
    pixels, variables = len(row.covered), len(row.objective)
    candidates, relus, inputs, maxima = len(row.constants), len(row.bias), len(row.reads), len(row.starts) - 1
    box = _Box(
        np.empty(pixels), np.empty(pixels), np.empty(relus), np.empty(relus), np.empty(relus),
        np.empty(relus, np.bool_), np.empty(candidates, np.bool_), np.empty(candidates), np.empty(candidates),
    )  # fmt: skip
    lines = _Lines(
        np.empty(variables), np.empty(candidates), np.empty(maxima), np.empty(maxima, np.int64),
        np.empty(relus), np.empty(relus, np.bool_), np.empty(inputs), np.empty(inputs), np.empty(len(row.relus) - 1),
        np.empty(pixels),
    )  # fmt: skip
    count = 2 * candidates + relus + inputs
    here, best, gradient, unit = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    first, second, values, given = np.empty(count), np.empty(count), np.empty(variables), np.empty(maxima + pixels)
    unit[:candidates], unit[candidates : 2 * candidates + relus] = RATES[0], RATES[1]
    for n in range(len(cases.parameters)):
        if not _boxed(row, cases.allowed[n], cases.lower[n], cases.upper[n], box, values, lines.above):
            found.bounds[n], found.values[n], found.divided[n] = np.inf, np.inf, FINISHED
            _copy(cases.lower[n], found.points[n])
            continue
        _copy(cases.parameters[n], here)
        first[:] = second[:] = 0.0
        bound = -np.inf
        _copy(here, best)
        for step in range(steps + 2):
            last = step > steps or bound > ceiling
            value = _bound(row, box, best if last else here, lines)
            if value > bound:
                bound = value
                _copy(here, best)
            if step == 0:
                _unit(row, lines.above, unit[2 * candidates + relus :])
            _ascend(row, box, lines, values, gradient)
            if last:
                break
            _move(gradient, unit, first, second, here, step + 1, rate * END ** (step / max(steps, 1)))
            _clamp(here[candidates : 2 * candidates + relus])
        _copy(best, cases.parameters[n])
        found.bounds[n] = bound
        for p in range(pixels):
            found.points[n, p] = min(max(values[p], cases.lower[n, p]), cases.upper[n, p])
        found.values[n] = evaluate(row, found.points[n], values)
        _given_away(row, box, lines, values, given)
        found.divided[n] = _next(given, found.values[n] - bound, again)


@inner
def _copy(source: np.ndarray, target: np.ndarray) -> None:
    for k in range(len(source)):
        target[k] = source[k]


@compiled
def evaluate(row: Maxima, point: Float[np.ndarray, "pixels"], values: Float[np.ndarray, "variables"]) -> float:
    """The row's value at a point; all variables' go into `values`."""
    weight, bias, reads, inputs, cells = row.weight, row.bias, row.reads, row.inputs, row.relus
    pixels, relus, starts = len(row.covered), len(bias), row.starts
    _copy(point, values[:pixels])
    for c in range(len(cells) - 1):
        begin, end = inputs[c], inputs[c + 1]
        for r in range(cells[c], cells[c + 1]):
            z = bias[r]
            for i in range(begin, end):
                z += weight[r, i - begin] * point[reads[i]]
            values[pixels + r] = max(z, 0.0)
    for m in range(len(starts) - 1):
        largest = -np.inf
        for j in range(starts[m], starts[m + 1]):
            largest = max(largest, _candidate(row.rows, row.columns, row.slopes, row.constants, j, values))
        values[pixels + relus + m] = largest
    total = row.constant
    for v in range(len(values)):
        total += row.objective[v] * values[v]
    return total


@inner
def _candidate(
    rows: np.ndarray, columns: np.ndarray, slopes: np.ndarray, constants: np.ndarray, j: int, values: np.ndarray
) -> float:
    z = constants[j]
    for e in range(rows[j], rows[j + 1]):
        z += slopes[e] * values[columns[e]]
    return z


@inner
def _boxed(
    row: Maxima, allowed: np.ndarray, lower: np.ndarray, upper: np.ndarray, box: _Box, low: np.ndarray, high: np.ndarray
) -> bool:
    """Chords and ranges; whether any point can be left. `low` and `high` are scratch for all variables."""
    weight, bias, reads, inputs, cells = row.weight, row.bias, row.reads, row.inputs, row.relus
    middle, half = box.middle, box.half
    pixels, relus = len(middle), len(bias)
    full = True
    for p in range(pixels):
        low[p], high[p] = lower[p], upper[p]
        middle[p], half[p] = (low[p] + high[p]) / 2, (high[p] - low[p]) / 2
        full = full and half[p] == 1.0
    for c in range(len(cells) - 1):
        begin, end = inputs[c], inputs[c + 1]
        for r in range(cells[c], cells[c + 1]):
            center, reach = bias[r], 0.0
            for i in range(begin, end):
                center += weight[r, i - begin] * middle[reads[i]]
                reach += abs(weight[r, i - begin]) * half[reads[i]]
            least, most = center - reach, center + reach
            box.center[r], box.open[r] = center, least < 0.0 < most
            box.chord[r], box.offset[r] = 1.0 if least >= 0.0 else 0.0, 0.0
            if least < 0.0 < most:
                box.chord[r] = most / (most - least)
                box.offset[r] = -least * box.chord[r]
            low[pixels + r], high[pixels + r] = max(least, 0.0), max(most, 0.0)
    _copy(allowed, box.allowed)
    _copy(row.low, box.low)
    _copy(row.high, box.high)
    return full or _ranged(row, box, pixels + relus, low, high)


@inner
def _ranged(row: Maxima, box: _Box, first: int, low: np.ndarray, high: np.ndarray) -> bool:
    """The candidates' ranges from the ranges of the variables; False where none of a maximum's can be the largest."""
    starts, rows, columns, slopes = row.starts, row.rows, row.columns, row.slopes
    allowed, lowest, highest = box.allowed, box.low, box.high
    for m in range(len(starts) - 1):
        floor, top, left = -np.inf, -np.inf, 0
        for j in range(starts[m], starts[m + 1]):
            least = most = row.constants[j]
            for e in range(rows[j], rows[j + 1]):
                one, other = slopes[e] * low[columns[e]], slopes[e] * high[columns[e]]
                least += min(one, other)
                most += max(one, other)
            lowest[j], highest[j] = max(lowest[j], least - ROUNDED), min(highest[j], most + ROUNDED)
            floor, top = max(floor, lowest[j]), max(top, highest[j])
        for j in range(starts[m], starts[m + 1]):
            allowed[j] = allowed[j] and highest[j] >= floor  # else another one is larger
            left += allowed[j]
        if not left:
            return False
        low[first + m], high[first + m] = floor, top
    return True


@inner
def _bound(row: Maxima, box: _Box, p: Float[np.ndarray, "parameters"], to: _Lines) -> float:
    """The bound with parameters p."""
    above, weights, starts, rows, columns, slopes = to.above, to.weights, row.starts, row.rows, row.columns, row.slopes
    reads, covered, constants, shares, taken = row.reads, row.covered, row.constants, to.shares, to.taken
    pixels, relus, candidates = len(covered), len(row.bias), len(constants)
    _copy(row.objective, above)
    total = row.constant
    for m in range(len(starts) - 2, -1, -1):
        a, begin, end = above[pixels + relus + m], starts[m], starts[m + 1]
        if a >= 0:
            _mix(p[begin:end], weights[begin:end])
        else:
            allowed, low, high = box.allowed[begin:end], box.low[begin:end], box.high[begin:end]
            to.rest[m], to.top[m] = _plane(
                p[candidates + begin : candidates + end], allowed, low, high, weights[begin:end]
            )
            total += a * to.rest[m]
        for j in range(begin, end):
            pair = a * weights[j]
            if pair != 0.0:
                total += pair * constants[j]
                for e in range(rows[j], rows[j + 1]):
                    above[columns[e]] += pair * slopes[e]
    prices = p[2 * candidates + relus :]
    taken[:] = 0.0
    for i in range(len(prices)):
        taken[reads[i]] += prices[i]
    for i in range(len(prices)):
        shares[i] = (above[reads[i]] - taken[reads[i]]) * row.share[i] + prices[i]
    total += _cells(row, box, p[2 * candidates :], to)
    for v in range(pixels):
        if not covered[v]:
            total += above[v] * box.middle[v] - abs(above[v]) * box.half[v]
    return total


@inner
def _mix(logits: np.ndarray, weights: np.ndarray) -> None:
    most, total = -np.inf, 0.0
    for j in range(len(logits)):
        most = max(most, logits[j])
    for j in range(len(logits)):
        weights[j] = np.exp(logits[j] - most)
        total += weights[j]
    for j in range(len(logits)):
        weights[j] /= total


@inner
def _plane(
    planes: np.ndarray, allowed: np.ndarray, low: np.ndarray, high: np.ndarray, weights: np.ndarray
) -> tuple[float, int]:
    """The plane's slopes into `weights`; its constant and the candidate that decides it.

    max_j z_j - plane @ z is largest where z_j is high and all others are low, for the allowed j that is best there.
    """
    left, only = 0, 0
    for j in range(len(planes)):
        weights[j] = 0.0
        if allowed[j]:
            left, only = left + 1, j
    if left == 1:
        weights[only] = 1.0
        return 0.0, only
    most, fallen, top = -np.inf, 0.0, 0
    for j in range(len(planes)):
        if allowed[j]:
            weights[j] = planes[j]
            fallen += planes[j] * low[j]
            reached = high[j] - planes[j] * (high[j] - low[j])
            if reached > most:
                most, top = reached, j
    return most - fallen, top


@inner
def _cells(row: Maxima, box: _Box, slopes: Float[np.ndarray, "_"], to: _Lines) -> float:
    """The cells' least values: pieces of the relus wanted high whose chords cost most, lines for the others."""
    weight, reads, inputs, cells, pixels = row.weight, row.reads, row.inputs, row.relus, len(row.covered)
    above, lines, shares, slope, exact, opens = to.above, to.lines, to.shares, to.slope, to.exact, box.open
    middle, half, center, chord, offset = box.middle, box.half, box.center, box.chord, box.offset
    chosen, costs, widths = np.empty(PIECES, np.int64), np.empty(PIECES), np.empty(weight.shape[1])
    total = 0.0
    for c in range(len(cells) - 1):
        begin, end, count, fixed = inputs[c], inputs[c + 1], 0, 0.0
        for i in range(begin, end):
            lines[i] = shares[i]
            fixed += shares[i] * middle[reads[i]]
            widths[i - begin] = half[reads[i]]
        for r in range(cells[c], cells[c + 1]):
            v = above[pixels + r]
            slope[r], exact[r] = chord[r], False
            if opens[r] and v > 0:
                slope[r] = slopes[r]
            elif opens[r] and v < 0:
                cost, at = -v * offset[r], count
                if count < PIECES:
                    count += 1
                else:
                    at = 0
                    for k in range(1, count):
                        if costs[k] < costs[at]:
                            at = k
                    if costs[at] >= cost:
                        continue
                    exact[chosen[at]] = False
                chosen[at], costs[at], exact[r] = r, cost, True
        for r in range(cells[c], cells[c + 1]):
            v = above[pixels + r]
            if v != 0.0 and not exact[r]:
                fixed += v * slope[r] * center[r] + min(v, 0.0) * offset[r]
                _tilt(lines[begin:end], weight[r], v * slope[r])
        least, which, on, added = np.inf, 0, 0, 0.0
        for t in range(1 << count):
            if t:  # from one combination to the next a single relu changes (Gray's code)
                k = 0
                while not (t >> k) & 1:
                    k += 1
                on ^= 1 << k
                by = above[pixels + chosen[k]] * (1.0 if (on >> k) & 1 else -1.0)
                added += by * center[chosen[k]]
                _tilt(lines[begin:end], weight[chosen[k]], by)
            value = added
            for i in range(begin, end):
                value -= abs(lines[i]) * widths[i - begin]
            if value < least:
                least, which = value, on
        for k in range(count):
            slope[chosen[k]] = (which >> k) & 1
            if (which ^ on) >> k & 1:
                _tilt(lines[begin:end], weight[chosen[k]], above[pixels + chosen[k]] * (2.0 * slope[chosen[k]] - 1.0))
        to.least[c] = fixed + least
        total += fixed + least
    return total


@inner
def _tilt(lines: np.ndarray, weight: np.ndarray, by: float) -> None:
    for i in range(len(lines)):
        lines[i] += by * weight[i]


@inner
def _unit(row: Maxima, above: np.ndarray, unit: Float[np.ndarray, "inputs"]) -> None:
    """By how much the cells' relus can change the inputs' coefficients: the unit of prices' rates."""
    weight, inputs, cells, pixels = row.weight, row.inputs, row.relus, len(row.covered)
    unit[:] = 0.0
    for c in range(len(cells) - 1):
        for r in range(cells[c], cells[c + 1]):
            for i in range(inputs[c], inputs[c + 1]):
                unit[i] += RATES[2] * abs(above[pixels + r] * weight[r, i - inputs[c]])


@inner
def _ascend(row: Maxima, box: _Box, at: _Lines, values: Float[np.ndarray, "variables"], gradient: np.ndarray) -> None:
    """The bound's gradient by the parameters, from its gradient by the variables' coefficients, `values`."""
    weight, bias, reads, inputs, cells = row.weight, row.bias, row.reads, row.inputs, row.relus
    rows, columns, slopes, constants, starts = row.rows, row.columns, row.slopes, row.constants, row.starts
    above, lines, weights, covered = at.above, at.lines, at.weights, row.covered
    middle, half, opens, low, high, allowed = box.middle, box.half, box.open, box.low, box.high, box.allowed
    pixels, relus, candidates = len(covered), len(bias), len(constants)
    by_slope, by_price = gradient[2 * candidates :], gradient[2 * candidates + relus :]
    gradient[:] = 0.0
    for v in range(pixels):
        values[v] = 0.0 if covered[v] else middle[v] - half[v] * np.sign(above[v])
    for i in range(len(reads)):
        by_price[i] = middle[reads[i]] - half[reads[i]] * np.sign(lines[i])
        values[reads[i]] += row.share[i] * by_price[i]
    for c in range(len(cells) - 1):
        begin, end = inputs[c], inputs[c + 1]
        for r in range(cells[c], cells[c + 1]):
            z, v = bias[r], above[pixels + r]
            for i in range(begin, end):
                z += weight[r, i - begin] * by_price[i]
            values[pixels + r] = at.slope[r] * z
            if v < 0 and not at.exact[r]:
                values[pixels + r] += box.offset[r]
            if v > 0 and opens[r]:
                by_slope[r] = v * z
    for i in range(len(reads)):
        by_price[i] -= values[reads[i]]
    for m in range(len(starts) - 1):
        a = above[pixels + relus + m]
        value = 0.0 if a >= 0 else at.rest[m]
        for j in range(starts[m], starts[m + 1]):
            if weights[j] != 0.0 or (a < 0 and allowed[j]):
                z = _candidate(rows, columns, slopes, constants, j, values)
                value += weights[j] * z
                if a >= 0:
                    gradient[j] = z
                else:
                    gradient[candidates + j] = a * (z - low[j])
        values[pixels + relus + m] = value
        if a >= 0:
            for j in range(starts[m], starts[m + 1]):
                gradient[j] = a * weights[j] * (gradient[j] - value)
        else:
            top = starts[m] + at.top[m]
            gradient[candidates + top] -= a * (high[top] - low[top])


@inner
def _move(
    gradient: np.ndarray, unit: np.ndarray, first: np.ndarray, second: np.ndarray, p: np.ndarray, step: int, rate: float
) -> None:
    """One step of Adam (Kingma & Ba, ICLR 2015), upward. The gradient is by p, its prices too."""
    near, far = DECAYS
    scale, spread = rate / (1 - near**step), 1 / (1 - far**step)
    for k in range(len(p)):
        first[k] = near * first[k] + (1 - near) * gradient[k]
        second[k] = far * second[k] + (1 - far) * gradient[k] * gradient[k]
        p[k] += unit[k] * scale * first[k] / (np.sqrt(second[k] * spread) + 1e-12)


@inner
def _clamp(p: np.ndarray) -> None:
    for k in range(len(p)):
        p[k] = min(max(p[k], 0.0), 1.0)


@inner
def _given_away(row: Maxima, box: _Box, at: _Lines, values: Float[np.ndarray, "variables"], given: np.ndarray) -> None:
    """What the bound gives away at a point, by maximum and by pixel; -1 where nothing can be divided.

    Of a cell: what the copies' disagreement and the relus' lines cost, laid to the pixels that they come from.
    """
    weight, bias, reads, inputs, cells, starts = row.weight, row.bias, row.reads, row.inputs, row.relus, row.starts
    middle, half, above, lines = box.middle, box.half, at.above, at.lines
    pixels, relus, maxima = len(row.covered), len(bias), len(starts) - 1
    for m in range(maxima):
        a, left, plane = above[pixels + relus + m], 0, at.rest[m]
        given[m] = -1.0
        if a < 0:
            for j in range(starts[m], starts[m + 1]):
                left += box.allowed[j]
                if at.weights[j] != 0.0:
                    plane += at.weights[j] * _candidate(row.rows, row.columns, row.slopes, row.constants, j, values)
            if left > 1:
                given[m] = max(-a * (plane - values[pixels + relus + m]), 0.0) + DECIDED
    pixel = given[maxima:]
    pixel[:] = 0.0
    apart = np.empty(weight.shape[1])
    for c in range(len(cells) - 1):
        begin, end = inputs[c], inputs[c + 1]
        lost = -at.least[c]
        for i in range(begin, end):
            v = reads[i]
            apart[i - begin] = abs(lines[i] * (middle[v] - half[v] * np.sign(lines[i]) - values[v]))
            lost += at.shares[i] * values[v]
        for r in range(cells[c], cells[c + 1]):
            v = above[pixels + r]
            lost += v * values[pixels + r]
            if box.open[r] and v != 0.0:
                z = bias[r]
                for i in range(begin, end):
                    z += weight[r, i - begin] * values[reads[i]]
                off = abs(v * (max(z, 0.0) - at.slope[r] * z))
                for i in range(begin, end):
                    apart[i - begin] += off * abs(weight[r, i - begin]) * half[reads[i]]
        total = 1e-12
        for i in range(begin, end):
            total += apart[i - begin]
        for i in range(begin, end):
            pixel[reads[i]] += apart[i - begin] / total * max(lost, 0.0)
    for v in range(pixels):
        if half[v] <= NARROW or pixel[v] <= DECIDED:
            pixel[v] = -1.0


@inner
def _next(given: np.ndarray, gap: float, again: bool) -> int:
    if not len(given):
        return FINISHED
    which = 0
    for k in range(len(given)):
        if given[k] > given[which]:
            which = k
    if not again:
        return which if given[which] > WORTH * gap else AGAIN
    return which if given[which] > 0 else FINISHED
