"""Many cases: worker processes that may die."""

from aureole.campaign.pool import Failed, run_all

__all__ = ["Failed", "run_all"]
