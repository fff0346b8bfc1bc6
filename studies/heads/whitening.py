"""Measure what causal re-centring of its input would give an LSTM from session to session; print a Markdown table.

    PRETAP_DATA=... python studies/heads/whitening.py

The protocol is that of recentring.py, at 100 Hz. A window of the LSTM is multiplied by the matrix that moves the
running mean covariance of the band to that of the training; a tangent space fitted on the same trials provides the
mean. The LSTM is that of single-100hz with mu, fewer blocks, one slow filter and gentler training.
"""

from __future__ import annotations

import numpy as np
from msgspec.structs import replace
from recentring import MIN_TRIALS
from sessions import GROUPS, heads, joined, recipe, row

from pretap.config.reading import find_config, load_config
from pretap.config.serve import AdaptConfig
from pretap.config.train import SignalConfig, TrainConfig
from pretap.decoder.adapting import AdaptingDecoder
from pretap.networks import TangentSpaceSpec
from pretap.recordings.epochs import Epochs
from pretap.recordings.resample import resample_epochs
from pretap_offline.fit.fitting import fit_decoder

SFREQ_HZ, BAND_HZ = 100.0, (8.0, 30.0)
CHANGES = (
    f"network.band_hz={list(BAND_HZ)}",
    "network.blocks=5",
    "network.lrp_filters=1",
    "fit.max_epochs=30",
    "fit.learning_rate=0.005",
    "fit.mirror=0.0",
)
COLUMNS = ("LSTM", "LSTM, input re-centred", "tangent space, re-centred")


def accuracies(group: str, sessions: list[Epochs]) -> np.ndarray:
    """Return the accuracy of a head in each column, (n_columns,)."""
    single = load_config(TrainConfig, find_config("single-100hz"), CHANGES)
    is_average = group != "2b"
    scaling = replace(single.scaling, reference="average" if is_average else "none")
    lstm_recipe = replace(single, scaling=scaling, signal=SignalConfig())
    correct, n_trials = np.zeros(len(COLUMNS)), 0
    for k in range(1, len(sessions)):
        before, session = joined(sessions[:k]), sessions[k]
        if len(before) < MIN_TRIALS:
            continue
        lstm, _ = fit_decoder(before, lstm_recipe, seed=0)
        space, _ = fit_decoder(before, recipe(group, TangentSpaceSpec(band_hz=BAND_HZ)), seed=0)
        adapting = AdaptingDecoder(space, AdaptConfig(method="recentre"))
        for window, label in zip(session.x_uv, session.labels, strict=True):
            x = window.astype(float)
            if is_average:  # the mean is that of re-referenced channels
                x -= x.mean(axis=1, keepdims=True)
            decided = [lstm.decode(x), lstm.decode(x @ adapting.means[0].transport.T), adapting.decode(window)]
            correct += [probs.argmax() == label for probs in decided]
            adapting.update(window)
        n_trials += len(session)
    return correct / n_trials


def main() -> None:
    print("| heads |", " | ".join(COLUMNS), "|")
    print("|---|" + "---|" * len(COLUMNS))
    for group in GROUPS:
        at_rate = [[resample_epochs(each, sfreq_hz=SFREQ_HZ) for each in sessions] for sessions in heads(group)]
        found = np.array([accuracies(group, sessions) for sessions in at_rate])  # (n_heads, n_columns)
        print(row(group, found), flush=True)


if __name__ == "__main__":
    main()
