"""Measure what causal re-centring gains from session to session, and print a Markdown table.

    PRETAP_DATA=... python studies/heads/recentring.py

For each head and each session but the first, a decoder is fitted on all sessions before (on at least 20 trials) and
decodes that session in order. Heads count alike, and the sessions of a head by their trials. Gains are paired over
heads, in points, with their standard errors. The memories (n_start, n_max) were chosen before: the mean of a session is
worth about as much as that of the training after 5 windows, because sessions differ by half as much as windows do.
"""

from __future__ import annotations

import numpy as np
from sessions import GROUPS, heads, joined, recipe, row

from pretap.config.serve import AdaptConfig
from pretap.decoder.adapting import AdaptingDecoder
from pretap.networks import ClosedFormSpec, TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder

MIN_TRIALS = 20
MEMORIES = ((5, 200), (10, 200), (20, 200))
NETWORKS = (TangentSpaceSpec(band_hz=(8.0, 30.0)), ClosedFormSpec(band_hz=(8.0, 30.0)))
COLUMNS = ("off", *MEMORIES, "whole session")


def accuracies(group: str, network: TangentSpaceSpec | ClosedFormSpec, sessions: list[Epochs]) -> np.ndarray:
    """Return the accuracy of a head in each column, (n_columns,)."""
    correct, n_trials = np.zeros(len(COLUMNS)), 0
    for k in range(1, len(sessions)):
        if sum(map(len, sessions[:k])) < MIN_TRIALS:
            continue
        decoder, _ = fit_decoder(joined(sessions[:k]), recipe(group, network), seed=0)
        for column, (n_start, n_max) in enumerate(MEMORIES, start=1):
            adapting = AdaptingDecoder(decoder, AdaptConfig(method="recentre", n_start=n_start, n_max=n_max))
            found = evaluate_trials(adapting, sessions[k])
            correct[column] += found.scores.n_correct
        correct[0] += found.unadapted.n_correct
        correct[-1] += found.whole_session.n_correct
        n_trials += len(sessions[k])
    return correct / n_trials


def main() -> None:
    print("| kind | heads |", " | ".join(str(each) for each in COLUMNS), "|")
    print("|---|---|" + "---|" * len(COLUMNS))
    for network in NETWORKS:
        kind = network.__struct_config__.tag
        for group in GROUPS:
            found = np.array([accuracies(group, network, sessions) for sessions in heads(group)])
            print(f"| {kind} {row(group, found)}", flush=True)


if __name__ == "__main__":
    main()
