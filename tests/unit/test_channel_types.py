"""Which channels are EEG: by the file's types, by labels, by units, and by the setting that overrides them."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from pretap.errors import DataError
from pretap.recordings.channel_types import choose_eeg_channels, kind_of

OTHERS = {
    "EOG": ["VEOG", "heog", "LEOG", "EOGR", "EOG-L", "EOG:horizontal", "EEG VEOG", "HEO", "LOC", "ROC-REF", "EOG C3"],
    "ECG": ["ECG", "EKG1-REF", "ECG ECGI", "Heart Rate"],
    "EMG": ["EMG", "EMG2", "EMGl", "Chin EMG", "PLMl", "LegR"],
    "respiration": [
        *("Resp", "RESP oro-nasal", "Respiration", "Thorax", "THO", "VTH", "VAB", "RIP", "NAF"),
        *("Thermistor", "CannulaFlow", "Nasal Flow", "Pres"),
    ],
    "skin conductance": ["GSR", "EDA1"],
    "temperature": ["Temp", "Temp rectal"],
    "motion": ["ACC X", "accX", "ACC27", "Accelerometer_Y", "GyroZ", "x_dir", "BodyPos", "MOT.Q0"],
    "pulse": ["Pulse", "SpO2", "SaO2", "PLETH", "Plet", "PPG", "OSAT"],
    "trigger": [
        "TRIG",
        "Trigger",
        "STI 014",
        "STI101",
        "Status",
        "DI1",
        "DIN8",
        "Digital Channel 0",
        "MkIdx",
        "EventMarker",
        "StimTrak",
        *("MarkerIndex", "MarkerType", "MarkerValueInt", "Response", "Responses", "parallel port", "LPT1"),
    ],
    "counter or device state": [
        *("Counter", "PacketCounter", "Sample Index", "TIME_STAMP_s", "Battery", "CQ_AF3", "CW6", "EQ_AF3"),
        *("EQ_OVERALL", "OriginalTimestamp", "HighBitFlex", "SaturationFlag", "Sequence", "seq", "Impedance"),
    ],
    "band power": ["POW.AF3.Theta", "Alpha"],
    "photodiode or sound": ["Photo", "photodiode", "Audio"],
    "auxiliary input": ["AUX", "Aux 1", "Right AUX", "BIP3", "DC01"],
}


@pytest.mark.parametrize(("kind", "label"), [(kind, label) for kind, labels in OTHERS.items() for label in labels])
def test_a_label_names_what_a_channel_is(kind, label):
    assert kind_of(label) == kind


@pytest.mark.parametrize("montage", mne.channels.get_builtin_montages())
def test_no_electrode_of_a_montage_is_taken_for_anything_else(montage):
    names = mne.channels.make_standard_montage(montage).ch_names
    assert [name for name in names if kind_of(name)] == []
    assert set(names) - set(choose(["C3", *names])[0]) <= {"C3", "T3", "T4", "T5", "T6"}  # twins of C3, T7 ... P8


@pytest.mark.parametrize(
    "label",
    ["Fp1", "EEG Fp1-Ref", "c3..", "C3-EOG", "A1", "M2", "ch1", "Channel 7", "EEG 3", "ExG Channel 0", "Ref", ""],
)
def test_electrodes_references_and_numbered_channels_may_be_eeg(label):
    assert kind_of(label) == ""


def choose(labels, *, types=None, units=None, x=None, **options):
    """Choose among channels with the samples `x` (n_samples, n_channels), by default with a signal each."""
    n = len(labels)
    x = np.random.default_rng(0).normal(0, 20, (100, n)) if x is None else x
    kept, left_out = choose_eeg_channels(
        labels,
        types=types or [""] * n,
        units=units or [""] * n,
        source="file.edf",
        read=lambda i: x[:, i],
        **options,
    )
    return [labels[i] for i in kept], left_out


def test_the_type_eeg_does_not_make_eeg_of_an_eog_and_another_type_excludes_an_electrode():
    kept, left_out = choose(["C3", "VEOG", "F7", "Cz"], types=["eeg", "EEG", "eog", "misc"])
    assert kept == ["C3"]
    assert left_out == (("VEOG", "EOG by its label"), ("F7", "EOG by its type"), ("Cz", "its type is misc"))


def test_other_brain_signals_are_used_if_there_is_no_eeg():
    assert choose(["LA1", "LA2"], types=["seeg", "seeg"]) == (["LA1", "LA2"], ())
    assert choose(["ch:00"], types=["misc"]) == (["ch:00"], ())  # the type of channels that nobody gave one
    assert choose(["C3", "LA2"], types=["eeg", "seeg"]) == (["C3"], (("LA2", "its type is seeg"),))


def test_a_unit_that_is_no_voltage_excludes_a_channel():
    labels, units = ["C3", "C4", "Nose", "Box", "Lamp"], ["uV", "n/a", "degC", "n/a", "%"]
    kept, left_out = choose(labels, units=units)
    assert kept == ["C3", "C4"]  # the unit of C4 is missing, not another one
    assert [name for name, _ in left_out] == ["Nose", "Box", "Lamp"]
    assert left_out[0][1] == "its unit is degC, not a voltage"
    assert choose(["ch1", "ch2"], units=["none", "none"])[0] == ["ch1", "ch2"]  # no channel has a unit


def test_external_electrodes_of_a_cap_are_left_out_but_not_those_of_a_board_without_one():
    assert choose(["Cz", "EXG1", "ExG 2"])[0] == ["Cz"]
    assert choose(["EXG1", "EXG2"])[0] == ["EXG1", "EXG2"]
    assert choose(["C3-M2", "E1-M2", "E2"])[0] == ["C3-M2"]  # the eyes, in sleep recordings
    assert choose(["E1", "E2", "E3"])[0] == ["E1", "E2", "E3"]  # a net of EGI


def test_leads_of_an_ecg_are_known_beside_electrodes_only():
    kept, left_out = choose(["C3", "C4", "II", "V1", "aVR"])
    assert (kept, left_out[0]) == (["C3", "C4"], ("II", "ECG by its label"))
    assert choose(["I", "II", "III"])[0] == ["I", "II", "III"]


def test_of_two_channels_of_one_electrode_the_one_with_the_modern_name_is_used():
    kept, left_out = choose(["T3", "T7", "Cz"])
    assert (kept, left_out) == (["T7", "Cz"], (("T3", "the same electrode as T7"),))
    assert choose(["EEG C3-Ref", "EEG C3-LE", "Cz"])[0] == ["EEG C3-Ref", "Cz"]
    assert choose(["T3", "T7", "Cz"], eeg=["T3"])[0] == ["T3", "Cz"]
    for dead in (0.0, 7.0, np.nan):
        x = np.random.default_rng(0).normal(0, 20, (100, 3))
        x[:, 1] = dead
        assert choose(["T3", "T7", "Cz"], x=x)[0] == ["T3", "Cz"]
        assert choose(["T3", "T7", "Cz"], x=x, eeg=["T7"])[0] == ["T7", "Cz"]  # asked for
        x[:, 0] = dead
        assert choose(["T3", "T7", "Cz"], x=x)[0] == ["T7", "Cz"]  # both are dead: nothing is better
    assert choose(["EEG", "EEG"])[0] == ["EEG", "EEG"]  # these labels name no electrode


def test_the_setting_overrides_type_label_and_unit_but_not_the_cue_channel():
    labels, types, units = ["C3", "VEOG", "HEOG", "Trig"], ["eeg", "eog", "", ""], ["uV", "", "%", ""]
    kept, left_out = choose(labels, types=types, units=units, eeg=["?eog", "Trig"], without="Trig")
    assert kept == ["C3", "VEOG", "HEOG"]
    assert left_out == (("Trig", "it has the cues"),)
    with pytest.raises(DataError, match=r"file\.edf has no channel 'EOG\*'.*It has C3, VEOG"):
        choose(labels, eeg=["EOG*"])


def test_a_file_without_eeg_is_refused_with_the_reasons_and_the_setting():
    with pytest.raises(DataError, match=r"no EEG channels, only VEOG \(EOG by its label\).*\[recording\] eeg"):
        choose(["VEOG"])
