"""`aureole prove --cases`: many questions from a file, one JSON line per answer, resumable."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from aureole import nets, verify
from aureole.cli import answers, inputs, options, specs
from aureole.cli.interrupted import Interrupted
from aureole.cli.jsonl import Line, put_in_order, read_answers, read_lines, writer
from aureole.cli.progress import counting
from aureole.cli.ready import ready
from aureole.core import Budget, Graph, InputError, Region, Rings, Spec, Why
from aureole.core.errors import unforeseen
from aureole.core.files import read_bytes

Scales = tuple[float, ...] | None
Load = Callable[[str, str | None, Scales, Scales], tuple[nets.Network, Graph]]


class Question(BaseModel):
    """One line of the file; the options of `aureole prove` under the same names, paths relative to the file.

    target, k:     the target stays among the k highest scores; with stays="out", out of them
    threshold:     instead of k: the target's score stays above it
    radius or radii (a list, or the path of a file) with mask: as on the command line
    timeout, seed: those of the command line when left out
    witness:       where to write a witness (.npy)
    name:          repeated in the answer
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    net: str
    image: str
    target: int
    k: int | None = None
    stays: Literal["in", "out"] = "in"
    threshold: float | None = None
    radius: float | None = None
    radii: list[float] | str | None = None
    mask: str | None = None
    arch: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    timeout: float | None = None
    seed: int | None = None
    witness: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Settings:
    """What the command line says for all lines."""

    timeout: float
    seed: int
    method: str
    solver: str
    data_root: Path | None
    device: str = "cpu"


def answer_all(path: Path, out: Path | None, settings: Settings) -> None:
    """Answer every line that `out` does not answer yet, each as soon as it is known; without `out`, to standard output.

    A line that cannot be answered gets an answer with its `error`; InputError says so at the end. Interrupted after
    Ctrl-C: what is written stays, the rest is for another run. Lines with an error are asked again, and so are those
    whose network, image, mask or file of radii has changed. InputError before any work when `out` answers other lines
    than those of the file, or was begun with other settings.
    """
    lines = read_lines(path)
    _check_places(lines, path)
    load = functools.cache(lambda net, arch, *scales: inputs.read_network(net, arch, settings.data_root, *scales))
    earlier = {} if out is None else read_answers(out, lines, path)
    kept = {
        line.number for line in lines
        if line.number in earlier and _stands(earlier[line.number], line, path.parent, settings, load, out)
    }  # fmt: skip
    errors, done = [], len(kept)
    if done < len(lines):
        ready()
    try:
        with writer(out) as write, counting(f"proving the cases of {path.name}", len(lines), done) as advance:
            for line in lines:
                if line.number in kept:
                    continue
                answer = _answer(line, path.parent, settings, load)
                write(line.head | answer)
                errors += [(line.number, answer["error"])] if "error" in answer else []
                done += 1
                advance()
    except KeyboardInterrupt:
        rest = "the same command goes on from there" if out is not None else "pass --out to be able to go on"
        raise Interrupted(f"interrupted: {done} of {len(lines)} cases are answered; {rest}") from None
    if out is not None:
        put_in_order(out, lines)
    if errors:
        number, text = errors[0]
        raise InputError(
            f"{len(errors)} of {len(lines)} cases have an error instead of an answer; line {number}: {text}"
        )


def _answer(line: Line, folder: Path, settings: Settings, load: Load) -> dict[str, Any]:
    """The answer to one line, or its error. KeyboardInterrupt after Ctrl-C: half an answer would not be repeated."""
    try:
        question = _question(line)
        named = {} if question.name is None else {"name": question.name}
        return named | _proved(question, folder, settings, load)
    except InputError as error:
        return {"error": " ".join(str(error).split())}
    except Exception as error:  # a defect of ours must not cost the other lines
        return {"error": f"{unforeseen(error)}; please report this"}


def _stands(answer: dict[str, Any], line: Line, folder: Path, settings: Settings, load: Load, out: Path | None) -> bool:
    """Whether an earlier answer is still one to its line; InputError where it was sought with other settings."""
    question = _question(line)
    how = _how(question, settings)
    changed = [f"{name} {answer.get(name)!r} -> {value!r}" for name, value in how.items() if answer.get(name) != value]
    if changed:
        raise InputError(f"{out} was begun with other settings ({', '.join(changed)}); choose another --out")
    try:
        digests = _digests(question, folder, _network(question, folder, load)[0])
    except InputError:
        return False  # asked again, it says what is wrong
    kept = question.witness is None or answer.get("witness") is None or Path(answer["witness"]).is_file()
    return kept and all(answer.get(name) == value for name, value in digests.items())


def _how(question: Question, settings: Settings) -> dict[str, Any]:
    return {
        "timeout": settings.timeout if question.timeout is None else question.timeout,
        "seed": settings.seed if question.seed is None else question.seed,
        "method": settings.method,
        "solver": settings.solver,
    }


def _network(question: Question, folder: Path, load: Load) -> tuple[nets.Network, Graph]:
    return load(_net(question.net, folder), question.arch, _scales(question.mean), _scales(question.std))


def _digests(question: Question, folder: Path, network: nets.Network) -> dict[str, str]:
    """Of the network, and of the image with the mask and the radii where they are files."""
    names = (question.image, question.mask, question.radii if isinstance(question.radii, str) else None)
    contents = [b"" if name is None else read_bytes(folder / name, "a file") for name in names]
    files = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents))
    return {"network_sha256": network.sha256, "files_sha256": files.hexdigest()}


def _question(line: Line) -> Question:
    try:
        return Question.model_validate_json(line.data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        fields = ", ".join(Question.model_fields)
        raise InputError(f"{where + ': ' if where else ''}{first['msg']}; a line may hold {fields}") from error


def _proved(question: Question, folder: Path, settings: Settings, load: Load) -> dict[str, Any]:
    how = _how(question, settings)
    timeout, seed = options.check_timeout(how["timeout"], "timeout"), options.check_seed(how["seed"], "seed")
    place = _place(question, folder)
    if place is not None:
        if place.suffix != ".npy":
            raise InputError(f"witness {question.witness} must end in .npy; name it so")
        names = (question.net, question.image, question.mask, question.radii)
        options.check_file("witness", place, (folder / name for name in names if isinstance(name, str)))
    network, graph = _network(question, folder, load)
    spec, digests = _spec(question, graph), _digests(question, folder, network)
    pixels, graph = inputs.read_image_for(folder / question.image, graph)
    region = _region(question, folder, pixels)
    method = verify.portfolio(settings.method, settings.solver)
    answer = specs.decide(graph, pixels, region, [spec], Budget.seconds(timeout), seed, method, settings.device)
    if answer.why is Why.INTERRUPTED:
        raise KeyboardInterrupt
    answers.keep_witness(answer, place)
    return answers.result(answer, place) | how | digests


def _place(question: Question, folder: Path) -> Path | None:
    return None if question.witness is None else folder / question.witness


def _check_places(lines: Sequence[Line], path: Path) -> None:
    """InputError where two lines write their witness into one file."""
    met: dict[Path, int] = {}
    for line in lines:
        try:
            place = _place(_question(line), path.parent)
        except InputError:
            continue  # its answer says what is wrong
        if place is not None and (first := met.setdefault(place.absolute(), line.number)) != line.number:
            raise InputError(f"{path}, lines {first} and {line.number} both write witness {place}; name another file")


def _scales(values: list[float] | None) -> Scales:
    return None if values is None else tuple(values)


def _net(name: str, folder: Path) -> str:
    """A name stays one; what has a file's ending is a path."""
    return str(folder / name) if Path(name).suffix or (folder / name).is_file() else name


def _spec(question: Question, graph: Graph) -> Spec:
    out = question.stays == "out"
    return specs.named_specs([question.target], question.k, out, question.threshold, graph.classes)[0]


def _region(question: Question, folder: Path, pixels: answers.Image) -> Region:
    specs.check_where(question.radius, question.radii, question.mask)
    if question.radius is not None:
        return Region.ball(pixels, options.check_radius(question.radius, "radius"))
    assert question.mask is not None
    rings = Rings.around(inputs.read_fitting_mask(folder / question.mask, pixels))
    if isinstance(question.radii, str):
        return Region.ringed(pixels, rings, inputs.read_radii(folder / question.radii, rings))
    radii = torch.tensor(question.radii, dtype=torch.float64)
    return Region.ringed(pixels, rings, inputs.check_radii(radii, rings, "the line"))
