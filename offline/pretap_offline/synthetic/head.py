"""The head of the synthetic subject: its sources, their activity around a tap, and the signal at the electrodes.

The signal comes from a few dipoles in MNE's spherical head model. Around each tap, the motor area opposite to the hand
shows a slow negative shift (the lateralised readiness potential) and weaker mu and beta rhythms, as in people. The
rest is background: 1/f sources all over the cortex, alpha at the back of the head, and noise of each electrode. Used by
`pretap_offline.synthetic.command`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.competition import CHANNELS
from pretap.recordings.mne_epochs import make_info

Array = NDArray[np.float64]

_REFERENCE = "Fpz"  # an electrode on the forehead, as with a real amplifier
MIN_SFREQ_HZ = 80.0  # lower rates cannot represent the beta rhythm
_N_BACKGROUND = 24
_BACKGROUND_UV = 4.0  # rms of each background source at the electrode with the largest gain
_LRP_UV = 15.0  # amplitude of the shift at the tap, over the motor area opposite to the hand
_MIDLINE_UV = 4.0  # the readiness potential common to both hands
_MU_UV, _BETA_UV, _ALPHA_UV = 4.0, 2.0, 9.0  # rms at rest
_SENSOR_UV = 1.5
_FIRST_TAP_S, LAST_TAP_S = 2.0, 0.5  # after the start, before the end
_REST_MARGIN_S = 1.0  # keeps the activity of taps out of a rest


# -- the head ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Head:
    """The properties that all recordings of one subject share. The largest gain of each source is 1.

    Shapes: `motor` (n_channels, 2) left and right hemisphere, `midline` (n_channels, 1), `alpha` (n_channels, 2),
    `background` (n_channels, n_background).
    """

    motor: Array
    midline: Array
    alpha: Array
    background: Array
    lrp_uv: float
    desynchronisation: float
    mu_hz: float
    beta_hz: float
    alpha_hz: float


def build_head(rng: np.random.Generator) -> Head:
    """Place the sources in a spherical head and compute their gains at the electrodes."""
    names = (*CHANNELS, _REFERENCE)
    info = make_info(names, sfreq_hz=1000.0)
    import mne

    sphere = mne.make_sphere_model("auto", "auto", info, verbose="error")
    centre_m, radius_m = sphere["r0"], sphere["layers"][0]["rad"]
    electrodes_m = dict(zip(names, (channel["loc"][:3] for channel in info["chs"]), strict=True))

    def under(name: str, *, jitter: float) -> Array:
        direction = (electrodes_m[name] - centre_m) / np.linalg.norm(electrodes_m[name] - centre_m)
        direction = direction + jitter * rng.standard_normal(3)
        return np.asarray(direction / np.linalg.norm(direction))

    spots = [under(name, jitter=0.06) for name in ("C3", "C4", "FCz", "O1", "O2")]
    spread = rng.standard_normal((_N_BACKGROUND, 3)) + np.array([0.0, 0.0, 0.5])  # mostly the upper half of the head
    spots += list(spread / np.linalg.norm(spread, axis=1, keepdims=True))
    tilts = np.r_[np.full(5, 0.25), np.full(_N_BACKGROUND, 1.0)]  # the first five are nearly radial
    axes = np.array(spots) + tilts[:, None] * rng.standard_normal((len(spots), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    positions_m = centre_m + np.array(spots) * radius_m * rng.uniform(0.68, 0.78, size=(len(spots), 1))
    dipoles = mne.Dipole(
        times=np.zeros(len(spots)), pos=positions_m, amplitude=np.ones(len(spots)), ori=axes, gof=np.ones(len(spots))
    )
    forward, _ = mne.make_forward_dipole(dipoles, sphere, info, verbose="error")
    field = forward["sol"]["data"]  # (n_channels + 1, n_sources)
    gain = field[:-1] - field[-1]  # (n_channels, n_sources), relative to the reference
    gain = gain / _largest(gain - gain.mean(axis=0))  # so amplitudes are microvolts at the largest gain
    return Head(
        motor=gain[:, :2],
        midline=gain[:, 2:3],
        alpha=gain[:, 3:5],
        background=gain[:, 5:],
        lrp_uv=_LRP_UV * rng.uniform(0.9, 1.1),
        desynchronisation=rng.uniform(0.4, 0.6),
        mu_hz=rng.uniform(10.0, 12.0),
        beta_hz=rng.uniform(18.0, 24.0),
        alpha_hz=rng.uniform(9.0, 11.0),
    )


def _largest(gain: Array) -> Array:
    """Return the entry with the largest magnitude in each column, (n_sources,), with its sign."""
    return np.asarray(gain[np.argmax(np.abs(gain), axis=0), np.arange(gain.shape[1])])


# -- activity --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Plan:
    """Times (n_taps,) and class indices (n_taps,) of the taps, and rests as (onset, duration) in seconds."""

    taps_s: Array
    hands: NDArray[np.int64]
    rests_s: tuple[tuple[float, float], ...]


def draw_plan(rng: np.random.Generator, n_seconds: float) -> Plan:
    """Draw taps about once a second, at least 0.75 s apart, with a rest of 5 to 10 s about every half minute.

    A longer plan from the same `rng` starts with the taps of a shorter one.
    """
    taps_s: list[float] = []
    hands: list[int] = []
    rests_s: list[tuple[float, float]] = []
    t_s = _FIRST_TAP_S
    next_rest_s = rng.uniform(25.0, 35.0)
    while t_s <= n_seconds - LAST_TAP_S:
        if len(hands) == len(taps_s):
            hands += rng.permutation(np.arange(20) % 2).tolist()  # balanced within every 20 taps
        taps_s.append(t_s)
        if t_s >= next_rest_s:
            duration_s = rng.uniform(5.0, 10.0)
            if t_s + _REST_MARGIN_S + duration_s <= n_seconds:
                rests_s.append((t_s + _REST_MARGIN_S, duration_s))
            t_s += duration_s + 2 * _REST_MARGIN_S
            next_rest_s = t_s + rng.uniform(25.0, 35.0)
        else:
            t_s += max(0.75, rng.normal(1.0, 0.12))
    return Plan(np.array(taps_s), np.array(hands[: len(taps_s)], np.int64), tuple(rests_s))


def _shift(t_s: Array) -> Array:
    """Return the time course of the readiness potential: 0 until -0.6 s from the tap, 1 at 0, and 0 from 0.2 s."""
    growing = np.clip((t_s + 0.6) / 0.6, 0.0, 1.0) ** 1.5
    fading = np.clip(1 - t_s / 0.2, 0.0, 1.0)
    return growing * np.minimum(fading, 1.0)


def _weakening(t_s: Array) -> Array:
    """Return the time course of the desynchronisation: 0 until -0.9 s, 1 from -0.3 to 0.1 s, and 0 from 0.4 s."""
    return np.clip(np.minimum((t_s + 0.9) / 0.6, (0.4 - t_s) / 0.3), 0.0, 1.0)


def _coloured(rng: np.random.Generator, shape: Array, *, n_sources: int, n_samples: int) -> Array:
    """Draw noise (n_sources, n_samples) of rms 1 whose amplitude spectrum is `shape` (n_frequencies,)."""
    drawn = shape > 1e-4 * shape.max()  # skips nearly all frequencies of a narrow band, which saves most of the time
    spectrum = np.zeros((n_sources, len(shape)), complex)
    spectrum[:, drawn] = rng.standard_normal((n_sources, drawn.sum(), 2)) @ np.array([1, 1j]) * shape[drawn]
    noise = np.fft.irfft(spectrum, axis=-1)[:, :n_samples]
    return np.asarray(noise / np.sqrt(np.mean(noise**2, axis=-1, keepdims=True)))


def _around_taps(plan: Plan, sizes: Array, *, sfreq_hz: float, n_samples: int) -> tuple[Array, Array, Array]:
    """Compute the activity around the taps.

    Returns
    -------
    lateral, common, weak
        Shift of the left and right motor area (2, n_samples), shift of the midline (n_samples,), desynchronisation 0
        to 1 of both motor areas (2, n_samples).
    """
    lateral, common, weak = np.zeros((2, n_samples)), np.zeros(n_samples), np.zeros((2, n_samples))
    for tap_s, hand, size in zip(plan.taps_s, plan.hands, sizes, strict=True):
        start, stop = max(0, round((tap_s - 1) * sfreq_hz)), min(n_samples, round((tap_s + 0.5) * sfreq_hz))
        t_s = np.arange(start, stop) / sfreq_hz - tap_s  # seconds from the tap
        opposite = 1 - int(hand)  # the right hemisphere (1) moves the left hand (0)
        lateral[opposite, start:stop] -= size * _shift(t_s)
        common[start:stop] -= size * _shift(t_s)
        weak[opposite, start:stop] = np.maximum(weak[opposite, start:stop], _weakening(t_s))
    return lateral, common, weak


def simulate_uv(head: Head, plan: Plan, rng: np.random.Generator, *, sfreq_hz: float, n_samples: int) -> Array:
    """Return the signal at the electrodes in microvolts, (n_channels, n_samples): sources and noise."""
    sizes = rng.lognormal(-0.5 * 0.3**2, 0.3, len(plan.taps_s))  # mean 1; every tap has its own amplitude
    lateral, common, weak = _around_taps(plan, sizes, sfreq_hz=sfreq_hz, n_samples=n_samples)
    n_fft = 1 << (n_samples - 1).bit_length()  # a length with a large prime factor takes ten times as long
    f_hz = np.fft.rfftfreq(n_fft, 1 / sfreq_hz)
    one_over_f = np.where((f_hz > 0.05) & (f_hz < 100), 1 / np.maximum(f_hz, 0.5), 0.0)  # amplitude; flat below 0.5 Hz

    def rhythm(centre_hz: float, width_hz: float) -> Array:
        bell = np.exp(-0.5 * ((f_hz - centre_hz) / width_hz) ** 2)
        return _coloured(rng, bell, n_sources=2, n_samples=n_samples)

    rhythms = _MU_UV * rhythm(head.mu_hz, 0.8) + _BETA_UV * rhythm(head.beta_hz, 1.5)
    motor = head.lrp_uv * lateral + (1 - head.desynchronisation * weak) * rhythms
    x_uv = head.motor @ motor + head.midline * (_MIDLINE_UV * common)  # (n_channels, n_samples)
    x_uv += head.alpha @ (_ALPHA_UV * rhythm(head.alpha_hz, 0.7))
    for first in range(0, _N_BACKGROUND, 4):  # four at a time, so that an hour at 1000 Hz fits in 1 GB
        sources = _coloured(rng, one_over_f, n_sources=4, n_samples=n_samples)
        x_uv += head.background[:, first : first + 4] @ (_BACKGROUND_UV * sources)
    for channel in range(len(x_uv)):
        x_uv[channel] += _SENSOR_UV * rng.standard_normal(n_samples)
    return np.asarray(x_uv)
