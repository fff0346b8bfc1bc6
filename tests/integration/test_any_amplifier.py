"""Amplifiers that are not like the bundle's: other rate, unit, order, offsets, missing and flat electrodes."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap.signal.interpolation import interpolating_matrix
from pretap.signal.resampler import Resampler
from pretap_offline.trials.montage import interpolation_weights
from real_lsl import resolve

CHANNELS = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")


@pytest.fixture
def wide(tmp_path, make_decoder):
    """A bundle for 8 channels at 100 Hz with windows of 50 samples, that can interpolate."""
    path = tmp_path / "wide.safetensors"
    make_decoder(path=path, channels=CHANNELS, interpolation=interpolation_weights(CHANNELS))
    return path


def outlet_info(name):
    """The full description of a stream that is up, as any LSL client reads it."""
    import pylsl

    inlet = pylsl.StreamInlet(resolve(name).info, recover=False)
    return inlet.info(timeout=60).desc()


def resampled(x, t, from_hz):
    return Resampler(from_hz=from_hz, to_hz=100.0, n_channels=x.shape[1]).process(x, t)


def test_a_stream_at_another_rate_is_resampled_and_its_delay_is_stated(start, wide, kit, tmp_path):
    log = tmp_path / "log.jsonl"
    amp = kit.Amplifier(labels=CHANNELS, sfreq_hz=512.0)
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--hop-ms", "10", "--log", str(log))
    said = child.wait_for("-> RUNNING.*")
    assert "resampled from 512 to 100 Hz: every decision comes 80.1 ms later" in said
    amp.wait_for_reader()
    listener = kit.Listener()
    desc = outlet_info("pretap-probabilities").child("resampling")
    assert [desc.child_value(key) for key in ("from_hz", "to_hz", "delay_ms")] == ["512", "100", "80.0781"]
    x = kit.eeg(700, n_channels=8)
    t = amp.stamps(700)
    amp.push(x)
    y, at_s = resampled(x, t, 512.0)
    last = listener.wait_for(lambda m: m.type == "verdict" and abs(m.t - at_s[-1]) < 1e-9, "the last decision")
    decoder = load(wide)
    for m in (m for m in listener.verdicts() if m.valid):
        end = int(np.argmin(np.abs(at_s - m.t))) + 1
        assert abs(at_s[end - 1] - m.t) < 1e-9  # the stamp is that of the window's last sample, not of its arrival
        assert m.p["left"] == decoder.decode(y[end - 50 : end])[0]
    assert last.lost == 0
    assert child.interrupt() == 0
    assert "resampled from 512 to 100 Hz" in log.read_text()


def test_an_amplifier_may_return_at_another_rate(start, wide, kit):
    amp = kit.Amplifier(labels=CHANNELS, source_id="amp-of-two-rates")
    child = start("serve", str(wide), "--query", "source_id=amp-of-two-rates", "--hop-ms", "10")
    child.wait_for("-> RUNNING")
    amp.wait_for_reader()
    amp.push(kit.eeg(60, n_channels=8))
    amp.outlet = None
    child.wait_for("-> LOST")
    other = kit.Amplifier(labels=CHANNELS, source_id="amp-of-two-rates", sfreq_hz=250.0)
    child.wait_for("-> RUNNING: .*resampled from 250 to 100 Hz")
    other.wait_for_reader()
    listener = kit.Listener()
    other.push(kit.eeg(300, n_channels=8))
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a decision at the new rate")
    assert child.interrupt() == 0


def test_volts_with_offsets_of_100_millivolts_in_another_order_decide_alike(start, wide, kit):
    order = [3, 0, 7, 5, 1, 6, 2, 4]
    labels = [*(f"EEG {CHANNELS[k].lower()}" for k in order), "Trigger"]
    amp = kit.Amplifier(labels=labels, unit="V", format="float64")
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--hop-ms", "10")
    child.wait_for("-> RUNNING")
    amp.wait_for_reader()
    listener = kit.Listener()
    x = kit.eeg(120, n_channels=8) + np.linspace(-1e5, 1e5, 8)  # uV
    sent = np.column_stack([x[:, order] * 1e-6, np.full(120, 5.0)])
    t = amp.stamps(120)
    amp.push(sent)
    last = listener.wait_for(lambda m: m.type == "verdict" and m.t == t[119], "the last decision")
    decoder = load(wide)
    assert last.p["left"] == pytest.approx(decoder.decode((x[70:120]).astype(np.float32))[0], abs=1e-4)
    assert child.interrupt() == 0


def test_a_missing_electrode_is_interpolated_and_said(start, wide, kit):
    have = [k for k in range(8) if CHANNELS[k] != "FC1"]
    amp = kit.Amplifier(labels=[CHANNELS[k] for k in have])
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--hop-ms", "10")
    assert "1 of 8 electrodes missing: FC1; interpolated" in child.wait_for("-> RUNNING.*")
    amp.wait_for_reader()
    listener = kit.Listener()
    x = kit.eeg(60, n_channels=8)
    t = amp.stamps(60)
    amp.push(x[:, have])
    last = listener.wait_for(lambda m: m.type == "verdict" and m.t == t[59], "the last decision")
    matrix = interpolating_matrix(interpolation_weights(CHANNELS), [CHANNELS.index("FC1")])
    expected = load(wide).decode(x[10:60] @ matrix.T)[0]
    assert last.p["left"] == pytest.approx(expected, abs=1e-5)
    assert child.interrupt() == 0


def test_an_electrode_that_falls_off_is_said_and_replaced(start, wide, kit):
    amp = kit.Amplifier(labels=CHANNELS)
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--hop-ms", "10")
    child.wait_for("-> RUNNING")
    amp.wait_for_reader()
    listener = kit.Listener()
    x = kit.eeg(300, n_channels=8)
    x[100:, 2] = 12.5
    t = amp.stamps(300)
    amp.push(x)
    child.wait_for("1 of 8 electrodes flat: Cz; interpolated from their neighbours")
    last = listener.wait_for(lambda m: m.type == "verdict" and m.t == t[299], "the last decision")
    matrix = interpolating_matrix(interpolation_weights(CHANNELS), [2])
    assert last.p["left"] == pytest.approx(load(wide).decode(x[250:300] @ matrix.T)[0], abs=1e-5)
    assert any("Cz" in m.why for m in listener.verdicts() if not m.valid)
    assert child.interrupt() == 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--set", "stream.max_interpolated=0"], r"At most 0 may be interpolated"),
        (["--set", 'stream.bad=["Fz","Cz"]'], r"lacks 3 of the 8 channels of the bundle: Fz, Cz, FC1\. At most 1 may"),
    ],
    ids=["none-allowed", "too-many"],
)
def test_too_many_missing_electrodes_are_refused_with_the_reason(start, wide, kit, more, says):
    amp = kit.Amplifier(labels=[name for name in CHANNELS if name != "FC1"])
    child = start("serve", str(wide), "--query", f"name={amp.name}", *more)
    assert child.wait() == 4
    assert child.wait_for(says)


def test_dry_run_prints_the_mapping_the_rate_and_what_is_not_used(start, wide, kit):
    labels = ["EEG C4", "Trigger", *(name for name in CHANNELS if name not in {"C4", "FC1"})]
    amp = kit.Amplifier(labels=labels, sfreq_hz=250.0, unit="")
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--set", "stream.unit=mV", "--dry-run")
    assert child.wait() == 0
    said = child.said
    assert "  C4     <- channel   1 'EEG C4' x 1000 uV" in said
    assert "  FC1    <- missing: interpolated from its neighbours" in said
    assert "  not used: Trigger" in said
    assert "  resampled from 250 to 100 Hz: every decision comes 80.0 ms later" in said


def test_biosemi_names_are_known_by_the_whole_cap(start, wide, kit):
    labels = [f"{bank}{k}" for bank in "AB" for k in range(1, 33)]
    amp = kit.Amplifier(labels=labels, sfreq_hz=2048.0)
    child = start("serve", str(wide), "--query", f"name={amp.name}", "--dry-run")
    assert child.wait() == 0
    assert "  C3     <- channel  13 'A13'" in child.said
    assert "  C4     <- channel  50 'B18'" in child.said
    assert "resampled from 2048 to 100 Hz" in child.said


def test_an_offset_that_the_decoder_would_take_for_signal_is_refused(start, tmp_path, make_decoder, kit):
    from pretap.signal.scaling import Scaling

    path = tmp_path / "raw.safetensors"
    make_decoder(path=path, scaling=Scaling(divide_uv=200.0))
    amp = kit.Amplifier()
    child = start("serve", str(path), "--query", f"name={amp.name}")
    child.wait_for("-> RUNNING")
    amp.wait_for_reader()
    amp.push(kit.eeg(60) + np.float32(3e4))
    assert child.wait() == 4
    assert "an offset of 30 mV" in child.said
    assert "scaling.baseline_ms" in child.said
