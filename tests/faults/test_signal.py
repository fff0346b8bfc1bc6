"""The signal: electrodes that are flat or railed."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap_offline.trials.montage import interpolation_weights
from real_lsl import eeg, until

LABELS = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")


@pytest.fixture
def cap(tmp_path, make_decoder):
    """A bundle whose electrodes can be replaced by their neighbours."""
    make_decoder(path=tmp_path / "cap.safetensors", channels=LABELS, interpolation=interpolation_weights(LABELS))
    return tmp_path / "cap.safetensors"


@pytest.fixture
def playing(serve, amplifier, cap):
    """Start a service on a cap, and have it take all samples of `x_uv`; gives the service and the amplifier."""

    def playing(x_uv, *arguments):
        amp = amplifier(labels=LABELS)
        service = serve(amp, "--hop-ms", "10", *arguments, bundle=cap)
        amp.wait_for_reader()
        amp.push(x_uv)
        last_s = amp.t0_s + (amp.n - 1.5) / 100
        until(lambda: service.verdicts() and service.verdicts()[-1]["t"] > last_s, "the last verdict")
        assert service.interrupt() == 0
        assert service.accounts() == (len(x_uv), 0)
        return service, amp

    return playing


def test_a_flat_electrode_is_replaced_by_its_neighbours_and_said(playing, cap, measured):
    x = eeg(600, 8)
    x[300:, 2] = 7.0
    service, amp = playing(x)
    assert "1 of 8 electrodes flat: Cz; interpolated from their neighbours" in service.said
    silent = [row for row in service.verdicts() if not row["valid"]][-1]
    n_noticed = round((silent["t"] - amp.t0_s) * 100) - 300
    last = service.verdicts()[-1]
    weights = interpolation_weights(LABELS)
    window = x[550:].astype(np.float64)
    others = [k for k in range(8) if k != 2]
    window[:, 2] = window[:, others] @ weights[2, others]
    offline = load(cap).decode(window.astype(np.float32))
    assert [last["p"]["left"], last["p"]["right"]] == pytest.approx(offline.tolist(), abs=1e-6)
    measured(
        "a flat electrode", "said, and replaced by its neighbours; no decision across the change",
        f"replaced after {10 * n_noticed} ms; the last decision is that of the interpolated window; "
        f"sent 600 = received 600 + lost 0",
    )  # fmt: skip


@pytest.mark.parametrize("policy", ["flag", "mask", "hold"])
def test_a_railed_electrode_is_named_and_the_policy_is_kept(policy, playing, measured):
    x = eeg(800, 8)
    x[300:, 5] = np.where(np.arange(500) % 25 < 20, 3276.8, x[300:, 5])  # it comes back for a moment, again and again
    service, amp = playing(x, "--set", f"quality.policy={policy}")
    named = [row for row in service.rows if row["type"] == "state" and "O1" in row["why"] and "railed" in row["why"]]
    assert named
    late = [row for row in service.verdicts() if row["t"] > amp.t0_s + 6]
    expected = {"flag": True, "mask": True, "hold": False}[policy]
    assert {row["valid"] for row in late} == {expected}
    if policy == "hold":
        assert all("O1: railed" in row["why"] for row in late)
    what = {"flag": "decisions go on", "mask": "replaced by its neighbours", "hold": "no verdict"}[policy]
    measured(
        f"a railed electrode, policy {policy}", f"named; {what}",
        f"named; of the {len(late)} decisions from 3 s on {sum(row['valid'] for row in late)} are verdicts",
    )  # fmt: skip
