"""`aureole verify`: does a network have a VNN-LIB property?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from jaxtyping import Float
from torch import Tensor

from aureole import nets, verify
from aureole.cli import inputs, options
from aureole.cli.interrupted import Interrupted
from aureole.cli.output import print_json
from aureole.cli.progress import progress
from aureole.cli.ready import ready
from aureole.core import Budget, InputError
from aureole.core.files import read_bytes, remove, write_bytes
from aureole.core.spec import only_compares


def verify_property(
    net: Annotated[Path, typer.Argument(metavar="NET", help="An .onnx file, or .pt2 or .safetensors.")],
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="A VNN-LIB 1.0 file.")],
    timeout: options.Timeout = 60.0,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    witness: Annotated[
        Path | None, typer.Option("--witness", help="Write the counterexample here; without one, the file goes.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Decide whether an input satisfies all assertions of SPEC.

    The first line is unsat (proved: none does), sat (a counterexample was found and replayed through the model),
    unknown or timeout. The witness is written as ((X_0 value) ... (Y_0 value) ...).
    """
    options.check_timeout(timeout)
    options.check_seed(seed)
    if witness is not None:
        options.check_file("--witness", witness, (net, spec))
    ready()
    budget = Budget.seconds(timeout)
    network = read_flat_network(net)
    question = read_property(spec)
    _check_scores(question, network, spec)
    with progress(f"deciding {spec.stem} of {net.stem}", timeout):
        decided = verify.decide(
            network.graph, question, network.image, network.flat, budget=budget, seed=seed, device=device
        )
    text = None
    if decided.witness is not None and decided.scores is not None:
        text = counterexample(network.flat(decided.witness), decided.scores)
    if witness is not None and text is not None:
        write_bytes(witness, text.encode())
    elif witness is not None:
        remove(witness)  # an earlier question's
    if json:
        result: dict[str, Any] = {
            "result": str(decided.decision),
            "witness": str(witness) if text is not None and witness is not None else None,
            "seconds": decided.seconds,
            "why": dict(decided.why),
            "detail": decided.detail,
            "notes": list(network.notes),
        }
        print_json(result)
    else:
        _tell(decided, network.notes)
    if decided.interrupted:
        raise Interrupted(decided.detail)


def _tell(decided: verify.Decided, notes: Sequence[str]) -> None:
    print(decided.decision)
    counted = ", ".join(f"{count} by {why}" for why, count in decided.why.items())
    detail = "" if decided.detail == "; ".join(notes) else decided.detail
    facts = [*notes, detail, counted and f"queries decided: {counted}", f"{decided.seconds:.2f} s"]
    print("\n".join(fact for fact in facts if fact))


def read_flat_network(path: Path) -> nets.OnnxNetwork:
    """A network file for a property, whose inputs are those of the model in row-major order."""
    if path.suffix not in (".pt2", ".safetensors"):
        return nets.load_onnx(path)
    network, graph = inputs.read_network(str(path), None, None)
    return nets.OnnxNetwork(graph, (1, *graph.input_shape), None, graph.notes, network.sha256)


def read_property(path: Path) -> verify.Property:
    """A VNN-LIB file; InputError with the path and the line."""
    try:
        return verify.read_vnnlib(read_bytes(path, "a .vnnlib file").decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text (byte {error.start}); pass a .vnnlib file") from error
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def counterexample(x: Float[Tensor, "inputs"], y: Float[Tensor, "outputs"]) -> str:
    """In the format of the verification competition, every number to the last bit."""
    pairs = [f"({name}_{i} {value!r})" for name, part in (("X", x), ("Y", y)) for i, value in enumerate(part.tolist())]
    return "(" + "\n".join(pairs) + ")\n"


def _check_scores(question: verify.Property, network: nets.OnnxNetwork, path: Path) -> None:
    """Without its softmax a model gives logits: their order is that of the probabilities, their values are not."""
    if not network.graph.softmax:
        return
    for unsafe in (u for case in question.cases for u in case.unsafe):
        if not only_compares(unsafe.rows, unsafe.constants):
            raise InputError(
                f"{path} does more than compare two scores, but the model's softmax cannot be read; "
                "export the model without it and state the property over logits"
            )
