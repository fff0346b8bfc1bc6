"""Trials of recordings: cut, checked, and reported."""

from pretap_offline.trials.cut import cut_trials

__all__ = ["cut_trials"]
