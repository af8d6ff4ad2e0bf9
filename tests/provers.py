"""The portfolios that every prover test runs; a new one joins by one line."""

from aureole.bounds import Ascent
from aureole.core import Answer, Graph, Region, Spec, Verdict
from aureole.verify import COMPLETE, INCOMPLETE, MILP, Portfolio
from aureole.verify.blocks import Blocks
from aureole.verify.choose import Choose
from aureole.verify.local import Local
from aureole.verify.split import Split
from aureole.verify.stages import Break, Climb, Milp, Ranges, Screen

PORTFOLIOS: dict[str, Portfolio] = {
    "complete": COMPLETE,
    "incomplete": INCOMPLETE,
    "milp": MILP,
    "no attack": Portfolio((Screen(), Climb(Ascent(steps=4)), Milp())),  # the MILP itself must find what fails
    "blocks": Portfolio((Screen(), Climb(Ascent(steps=2)), Blocks())),
    "choices": Portfolio((Screen(), Break(), Choose())),
    "local": Portfolio((Screen(), Local(tries=2))),
    "ranges": Portfolio((Screen(), Break(), Ranges(least=0))),
    "split": Portfolio((Screen(), Split(most_boxes=200, least_open=0))),
}
HURRIED = Portfolio((Screen(), Milp(most_seconds=2e-3)))
"""What the solver says when its time is over, which depends on the machine."""

DECIDES = ("complete", "milp", "no attack")
"""Portfolios that leave nothing open but margins within the slack."""


def complaint(answer: Answer, graph: Graph, region: Region, spec: Spec, least: float, *, decides: bool) -> str:
    """What is wrong with an answer when `least` is the exact least margin; empty when nothing is."""
    near = 3 * answer.slack
    wrong: list[str] = []
    match answer.verdict:
        case Verdict.ROBUST:
            if least <= 0:
                wrong.append("a failing spec was proved")
            if answer.witness is not None or answer.margin_bound is None:
                wrong.append("ROBUST with a witness or without a bound")
        case Verdict.VULNERABLE:
            if least > 1e-9:
                wrong.append("a proved spec was broken")
            if answer.witness is None or not region.contains(answer.witness):
                wrong.append("the witness is missing or outside")
            elif not float(spec.margin(graph.replay(answer.witness))) <= 0:
                wrong.append("the witness does not fail")
        case Verdict.UNKNOWN:
            if decides and abs(least) > near:
                wrong.append(f"left open: {answer.why}, {answer.detail}")
            if answer.witness is not None or not answer.detail:
                wrong.append("UNKNOWN with a witness or without a reason")
    if answer.margin_bound is not None and answer.margin_bound > least + 1e-7:
        wrong.append(f"bound {answer.margin_bound} above the least margin")
    if answer.margin_seen is not None:
        if answer.margin_seen < least - 1e-9:
            wrong.append(f"margin seen {answer.margin_seen} below the least margin")
        if answer.weakest is None or float(spec.margin(graph.replay(answer.weakest))) != answer.margin_seen:
            wrong.append("margin_seen is not that of the weakest image")
    return "; ".join(wrong) + (f" (least {least}, {answer})" if wrong else "")
