"""Trials cut from recordings, with their report and figure."""

from pretap_offline.trials.cut import cut_trials

__all__ = ["cut_trials"]
