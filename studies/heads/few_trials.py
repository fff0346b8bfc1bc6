"""Measure what 20 own trials and the sessions of other heads give together, and print a Markdown table.

    PRETAP_DATA=... python studies/heads/few_trials.py

Each block of 20 trials in a row, six at most for each session, is the own trials of one fit, and the rest of that
session is decoded. The runs of a head of OpenVIBE and OpenBCI are too short for that, so they count as one session. The
others are all sessions of all other heads in the group. Nothing adapts while it decodes. Heads count alike; differences
to CSP + LDA, fitted on the same own trials, are paired over heads, in points, with their standard errors.

The weight of an own trial is the ratio of the counts, so that own and other trials weigh the same. Three more were
tried, as means over heads: 1, 4 and the square root of the ratio. All four are within 1.6 points on 2b and OpenVIBE. On
the two OpenBCI heads, who differ, 1 is at chance and the square root is 6 points below CSP + LDA.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sessions import GROUPS, heads, joined, recipe, row

from pretap.networks import CspSpec, TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.fit.fitting import fit_decoder

N_OWN, MAX_BLOCKS, MIN_OF_CLASS = 20, 6, 4
BAND_HZ = (8.0, 30.0)
COLUMNS = ("CSP + LDA, own trials", "tangent space, own trials", "tangent space, own trials + others")


def blocks(session: Epochs) -> Iterator[tuple[Epochs, Epochs]]:
    """Yield the own trials and the rest of a session."""
    for start in range(0, min(len(session), MAX_BLOCKS * N_OWN) - N_OWN + 1, N_OWN):
        is_own = np.zeros(len(session), bool)
        is_own[start : start + N_OWN] = True
        own, rest = session.select(np.flatnonzero(is_own)), session.select(np.flatnonzero(~is_own))
        if np.bincount(own.labels, minlength=2).min() >= MIN_OF_CLASS:
            yield own, rest


def accuracies(group: str, sessions: list[Epochs], others: list[Epochs]) -> np.ndarray:
    """Return the mean accuracy of a head in each column, (n_columns,)."""
    n_channels = len(sessions[0].channels)
    csp = recipe(group, CspSpec(band_hz=BAND_HZ, filters=min(6, n_channels)))
    space = recipe(group, TangentSpaceSpec(band_hz=BAND_HZ))
    found = []
    for session in sessions if group == "2b" else [joined(sessions)]:
        for own, rest in blocks(session):
            fits = ((csp, []), (space, []), (space, others))
            decoders = [fit_decoder(own, config, seed=0, others=each)[0] for config, each in fits]
            found.append([evaluate_trials(decoder, rest).scores.accuracy for decoder in decoders])
    return np.mean(found, axis=0)


def main() -> None:
    print("| heads |", " | ".join(COLUMNS), "|")
    print("|---|" + "---|" * len(COLUMNS))
    for group in GROUPS:
        everyone = list(heads(group))
        found = np.array(
            [
                accuracies(group, sessions, [each for other in everyone if other is not sessions for each in other])
                for sessions in everyone
            ]
        )  # (n_heads, n_columns)
        print(row(group, found), flush=True)


if __name__ == "__main__":
    main()
