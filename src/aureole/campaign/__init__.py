"""Many cases: worker processes that may die, and a journal of finished cases from which a run goes on."""

from aureole.campaign.journal import Journal
from aureole.campaign.pool import Failed, run_all

__all__ = ["Failed", "Journal", "run_all"]
