"""Pictures and tables from stored records. Nothing here computes a bound or runs a network."""

from aureole.report.page import draw

__all__ = ["draw"]
