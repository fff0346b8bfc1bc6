"""Measure how mains and muscle noise affect the 1000 Hz decoders: paired cross-validated accuracy.

The decoders of each fold are fitted on clean trials. They decode the held-out trials unchanged, and with noise: a sine
with an amplitude of 20 uV at 50 or 60 Hz and a random phase for each channel and trial, plus independent noise of 60 to
200 Hz with 5 uV rms in each channel. There is one network for each seed, and the ensemble of them all.

    python studies/mains.py --data DIR [--seeds 10] [--workers 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from msgspec.structs import replace

from pretap.config.reading import find_config, load_config
from pretap.config.train import TrainConfig
from pretap.networks import softmax
from pretap_offline.evaluate.folds import splits
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.training import prepare
from pretap_offline.trials.source import read_trials

MAINS_UV, NOISE_UV, NOISE_HZ = 20.0, 5.0, (60.0, 200.0)


def with_noise(x_uv, *, sfreq_hz, mains_hz, rng):
    """Add mains and high-frequency noise to trials (n_epochs, n_samples, n_channels)."""
    n_epochs, n_samples, n_channels = x_uv.shape
    t_s = np.arange(n_samples)[:, None] / sfreq_hz
    phase = rng.uniform(0, 2 * np.pi, (n_epochs, 1, n_channels))
    mains = MAINS_UV * np.sin(2 * np.pi * mains_hz * t_s + phase)
    spectrum = np.fft.rfft(rng.normal(size=x_uv.shape), axis=1)
    hz = np.fft.rfftfreq(n_samples, 1 / sfreq_hz)
    spectrum[:, (hz < NOISE_HZ[0]) | (hz > NOISE_HZ[1])] = 0
    noise = np.fft.irfft(spectrum, n_samples, axis=1)
    return x_uv + mains + noise * (NOISE_UV / noise.std())


def fold_probs(epochs, config, split, *, seeds):
    """Log-probabilities of a fold's trials, (2 frequencies and clean, n_noises, n_seeds, n_trials, n_classes)."""
    held = epochs.x_uv[split.score_on]
    decoders = [fit_decoder(epochs.select(split.fit_on), config, seed=seed)[0] for seed in seeds]
    clean = np.stack([decoder.decode(held) for decoder in decoders])
    found = []
    for mains_hz in (50.0, 60.0):
        noises = [np.random.default_rng([seed, round(mains_hz), split.score_on[0]]) for seed in seeds]
        noisy = [with_noise(held, sfreq_hz=epochs.sfreq_hz, mains_hz=mains_hz, rng=rng) for rng in noises]
        found.append([np.stack([decoder.decode(x) for decoder in decoders]) for x in noisy])
    return np.log(np.stack([[clean] * len(seeds), *found]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--config", default="single-1000hz")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = load_config(TrainConfig, find_config(args.config))
    config = replace(config, evaluation=replace(config.evaluation, folds=10, repeats=1))
    epochs = prepare(read_trials(args.data, part="train"), config)
    seeds = range(args.seeds)
    drawn = splits(epochs, config.evaluation, seed=1000)
    running = Parallel(n_jobs=args.workers)(delayed(fold_probs)(epochs, config, each, seeds=seeds) for each in drawn)
    log_probs = np.empty((3, len(seeds), len(seeds), len(epochs), len(epochs.classes)))  # condition, noise, network
    for split, found in zip(drawn, running, strict=True):
        log_probs[:, :, :, split.score_on] = found
    single = (log_probs.argmax(-1) == epochs.labels).mean(-1)  # (condition, noise, network)
    paired = single[:, seeds, seeds]  # each network with the noise of its own seed
    ensemble = (softmax(log_probs.mean(2)).argmax(-1) == epochs.labels).mean(-1)  # (condition, noise)
    report = {"seeds": args.seeds, "config": args.config}
    for name, accuracy in (("single", paired), ("ensemble", ensemble)):
        print(f"{name}: clean {accuracy[0].mean():.4f}")
        report[name] = {"clean": accuracy[0].tolist()}
        for mains_hz, noisy in ((50, accuracy[1]), (60, accuracy[2])):
            lost = noisy - accuracy[0]
            error = lost.std(ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else np.nan
            print(f"  {mains_hz} Hz: {noisy.mean():.4f}, paired difference {lost.mean():+.4f} +- {error:.4f} (s.e.)")
            report[name][f"{mains_hz} Hz"] = noisy.tolist()
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
