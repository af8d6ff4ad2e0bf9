"""What every method of finding radii is: a frozen description that runs against a prover."""

from abc import ABC, abstractmethod

from aureole.neighborhood.prover import Prover
from aureole.neighborhood.result import Neighborhood


class Method(ABC):
    """A way to find large radii. It may report only what `prover.check` proved."""

    @abstractmethod
    def run(self, prover: Prover) -> Neighborhood:
        """Search until done or until the prover's budget ends."""
