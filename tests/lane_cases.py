"""Random decoders and recordings for the tests of lanes, and helpers that stream and compare them.

Used by `test_lanes`, `test_compiled_lanes`, `test_lane_stream` and `test_bandpass`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st

import factories
from pretap.bundle.manifest import Manifest
from pretap.decoder.compiled import active_variant, why_not_compiled
from pretap.decoder.decoder import Decoder
from pretap.networks import CspSpec, LdaSpec, LrpErdLstmSpec, LstmSpec
from pretap.networks.bandpass import BANDPASS
from pretap.signal.scaling import FIR, Scaling
from pretap.torch_networks import LstmNetwork
from pretap_offline.fit.bandpass import bandpass_impulse

FS = 100.0
ATOL = 1e-6  # across engines, at initial scale
# Shrinking a random network explains little; the seed in the failing example is enough.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def examples(n):
    return settings(deadline=None, max_examples=n, derandomize=True, phases=PHASES)


_ORDER = ("plain", "avx2", "avx512")
VARIANTS = _ORDER[: _ORDER.index(active_variant()) + 1] if active_variant() else ()
needs_library = pytest.mark.skipif(bool(why_not_compiled()), reason=why_not_compiled() or "-")


# -- random decoders -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """The parts of a decoder, and a recording with gaps that is cut into chunks."""

    manifest: Manifest
    tensors: dict
    x_uv: np.ndarray  # (n, n_channels)
    hop: int
    cuts: tuple[int, ...]
    gaps: tuple[int, ...]

    def decoder(self, engine):
        return Decoder(self.manifest, self.tensors, engine=engine)

    def member(self, k):
        """Return the tensors of one member under the names that they have alone."""
        if self.manifest.n_members == 1:
            return self.tensors
        prefix = f"members.{k}."
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def make_manifest(spec, *, n_channels, n_classes, **more):
    channels, classes = tuple(f"E{k + 1}" for k in range(n_channels)), tuple("abcd"[:n_classes])
    return factories.make_manifest(spec, channels=channels, classes=classes, **more)


def lstm_tensors(rng, spec, *, n_inputs, n_classes, gain=1.0):
    """Return weights as `LstmNetwork` initialises them, or normal ones with a standard deviation of 0.3."""
    layout = spec.tensors(n_steps=1, n_inputs=n_inputs, n_classes=n_classes)
    if rng.random() < 0.5:
        return {name: (gain * rng.normal(0, 0.3, shape)).astype(np.float32) for name, (_, shape) in layout.items()}
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        module = LstmNetwork(spec, n_steps=1, n_inputs=n_inputs, n_classes=n_classes)
    return {name: np.float32(gain) * weight for name, weight in module.export().items()}


def member_tensors(rng, manifest, *, gain=1.0):
    """Return random tensors of one member; the filters' features are about 1 for EEG of 20 uV."""
    spec, n_inputs, n_classes = manifest.network, len(manifest.channels), len(manifest.classes)
    if isinstance(spec, LstmSpec):
        return lstm_tensors(rng, spec, n_inputs=n_inputs, n_classes=n_classes, gain=gain)
    layout = spec.tensors(n_steps=manifest.n_steps, n_inputs=n_inputs, n_classes=n_classes)
    tensors = {
        name: rng.normal(0, 0.05, shape).astype({"F32": np.float32, "F64": np.float64}[kind])
        for name, (kind, shape) in layout.items()
    }
    if BANDPASS in tensors:
        sfreq_hz = manifest.sfreq_hz / (manifest.scaling.decimate * manifest.scaling.n_block)
        tensors[BANDPASS] = bandpass_impulse(
            spec.band_hz, order=spec.order, sfreq_hz=sfreq_hz, n_steps=manifest.n_steps
        )
    if isinstance(spec, LrpErdLstmSpec):
        n_features = spec.lrp_filters + spec.erd_filters
        tensors |= lstm_tensors(rng, spec.lstm, n_inputs=n_features, n_classes=n_classes, gain=gain)
    return tensors


def all_tensors(rng, manifest, *, gain=1.0):
    members = [member_tensors(rng, manifest, gain=gain) for _ in range(manifest.n_members)]
    tensors = dict(members[0])
    if len(members) > 1:
        tensors = {f"members.{k}.{name}": t for k, one in enumerate(members) for name, t in one.items()}
    scaling = manifest.scaling
    if scaling.n_taps:
        lengths = scaling.filter_lengths(manifest.n_window)
        fir = np.zeros((len(lengths), scaling.n_taps))
        for row, n in zip(fir, lengths, strict=True):
            row[:n] = rng.normal(1 / n, 0.3 / np.sqrt(n), n)
            row[n - n // 4 * int(rng.integers(2)) : n] = 0.0  # a filter may end in zeros
        tensors[FIR] = fir
    return tensors


@st.composite
def scalings(draw, *, n_window, n_channels, min_steps):
    """Draw any scaling that leaves at least `min_steps` steps of the window."""
    decimate = n_taps = n_start = 0
    if draw(st.booleans()):
        decimate = draw(st.integers(1, min(9, n_window // min_steps)))
        n_taps = draw(st.integers(1, n_window + 5))
        n_start = draw(st.integers(0, min(n_taps, n_window)))
    n_kept = n_window // max(decimate, 1)
    return Scaling(
        reference=draw(st.sampled_from(["none", "average"] if n_channels > 1 else ["none"])),
        n_baseline=draw(st.one_of(st.just(0), st.integers(1, n_kept))),
        n_block=draw(st.integers(1, min(7, n_kept // min_steps))),
        divide_uv=draw(st.sampled_from([1.0, 10.0, 200.0])),
        decimate=max(decimate, 1),
        n_taps=n_taps,
        n_start=n_start,
    )


@st.composite
def specs(draw, kind, *, n_steps, rate_hz, n_channels):
    if kind is LstmSpec:
        return LstmSpec(hidden=tuple(draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))))
    if kind is LdaSpec:
        return LdaSpec()
    low = draw(st.floats(0.03, 0.35))
    high = low + draw(st.floats(0.05, 0.48 - low))
    band = {"band_hz": (low * rate_hz, high * rate_hz), "order": draw(st.integers(1, 3))}
    if kind is CspSpec:
        return CspSpec(filters=draw(st.integers(1, n_channels)), **band)
    return LrpErdLstmSpec(
        blocks=draw(st.integers(2, n_steps)),
        lrp_filters=draw(st.integers(0, 9)),
        erd_filters=draw(st.integers(1, 9)),
        hidden=draw(st.integers(1, 20)),
        **band,
    )


@st.composite
def cases(draw, kind, *, max_window=120, gain=1.0):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_window, n_channels = draw(st.integers(20, max_window)), draw(st.integers(1, 9))
    min_steps = 2 if kind is LrpErdLstmSpec else 1
    scaling = draw(scalings(n_window=n_window, n_channels=n_channels, min_steps=min_steps))
    n_steps = scaling.n_steps(n_window)
    rate_hz = FS / (scaling.decimate * scaling.n_block)
    manifest = make_manifest(
        draw(specs(kind, n_steps=n_steps, rate_hz=rate_hz, n_channels=n_channels)),
        n_window=n_window,
        n_channels=n_channels,
        n_classes=draw(st.integers(2, 4)),
        scaling=scaling,
        n_members=draw(st.sampled_from([1, 1, 2, 3])),
        temperature=draw(st.sampled_from([1.0, 0.7, 2.5])),
    )
    hop = draw(st.one_of(st.integers(1, n_window), st.sampled_from([1, 2, n_window - 1, n_window])))
    n = draw(st.integers(n_window, 3 * n_window + 40))
    x_uv = rng.normal(0, 20, (n, n_channels)) + rng.normal(0, 200, n_channels)  # electrodes have offsets
    return Case(
        manifest,
        all_tensors(rng, manifest, gain=gain),
        x_uv.astype(np.float32),
        hop,
        cuts=tuple(sorted(draw(st.lists(st.integers(0, n), max_size=12)))),
        gaps=tuple(sorted(draw(st.lists(st.integers(0, n), max_size=2)))),
    )


def decide(stream, case, *, cuts, catch_up_after=()):
    """Stream a case's samples; return (start of the window, probabilities) of every decision.

    The stream catches up after the chunks that start at `catch_up_after`.
    """
    found = []
    after_gap = 0
    for start, stop in pairwise(sorted({0, *cuts, *case.gaps, len(case.x_uv)})):
        if start in case.gaps:
            stream.reset()
            after_gap = start
        outputs = stream.process(case.x_uv[start:stop])
        found += [(after_gap + o.n_end - case.manifest.n_window, o.probs) for o in outputs]
        if start in catch_up_after:
            stream.catch_up()
    return found


def starts_of(case):
    """Return the starts of all windows that must be decided."""
    starts = []
    for first, last in pairwise(sorted({0, *case.gaps, len(case.x_uv)})):
        starts += range(first, last - case.manifest.n_window + 1, case.hop)
    return starts


def window(case, start):
    return case.x_uv[start : start + case.manifest.n_window]


def decode_whole(decoder, x_uv):
    """Decode one window as a whole. Unlike `decode`, a stream accepts windows that look like volts."""
    (output,) = decoder.stream(len(x_uv), recompute=True).process(x_uv)
    return output.probs


def some(found, n=6):
    """Return the first, the last and a few between, since the reference needs 5 ms per window."""
    return [found[k] for k in sorted({round(k) for k in np.linspace(0, len(found) - 1, n)})] if found else []


def assert_near_the_reference(case, found, *, atol=ATOL):
    exact = case.decoder("numpy").exact()
    for start, probs in some(found):
        np.testing.assert_allclose(probs, decode_whole(exact, window(case, start)), rtol=0, atol=atol)


def assert_bits(found, wanted):
    assert [start for start, _ in found] == [start for start, _ in wanted]
    np.testing.assert_array_equal([probs for _, probs in found], [probs for _, probs in wanted])


def is_on_lanes(stream):
    return "open at once, each advanced sample by sample" in stream.describe()


# -- a small decoder -----------------------------------------------------------------------------------------------


SMALL = make_manifest(
    LrpErdLstmSpec(blocks=4, lrp_filters=2, erd_filters=2, band_hz=(8, 20), hidden=4),
    n_window=30,
    n_channels=3,
    n_classes=2,
    scaling=Scaling(reference="average", n_baseline=4, divide_uv=1),
)
SMALL_TENSORS = all_tensors(np.random.default_rng(11), SMALL)
X = np.random.default_rng(12).normal(0, 20, (260, 3)).astype(np.float32)
LANE_ENGINES = ("compiled", "numpy") if VARIANTS else ("numpy",)
ENGINES = (*LANE_ENGINES, "torch")
every_engine = pytest.mark.parametrize("engine", ENGINES)
every_lane_engine = pytest.mark.parametrize("engine", LANE_ENGINES)


def small(engine="numpy", tensors=SMALL_TENSORS, manifest=SMALL):
    return Decoder(manifest, tensors, engine=engine)


def collect(outputs):
    return [o.n_end for o in outputs], [o.probs.tolist() for o in outputs]
