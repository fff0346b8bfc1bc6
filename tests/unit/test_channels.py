"""Electrodes are matched by name; units become microvolts or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.errors import StreamRefusedError
from pretap.recordings.competition import CHANNELS
from pretap.signal.channels import canonical, match_channels, microvolts_per

MODEST = settings(deadline=None, max_examples=80)


@pytest.mark.parametrize(
    ("label", "electrode"),
    [
        ("C3", "C3"),
        ("c3", "C3"),
        (" C3 ", "C3"),
        ("EEG C3", "C3"),
        ("EEG_C3", "C3"),
        ("EEG:C3", "C3"),
        ("eeg-c3", "C3"),
        ("EEG C3-Ref", "C3"),
        ("EEG C3-LE", "C3"),
        ("C3-A2", "C3"),
        ("C3_M1", "C3"),
        ("C3 AVG", "C3"),
        ("C3..", "C3"),
        ("Cz.", "CZ"),
        ("Fcz.", "FCZ"),
        ("FP1", "FP1"),
        ("T3", "T7"),
        ("T4", "T8"),
        ("t5", "P7"),
        ("EEG T6-REF", "P8"),
        ("T7", "T7"),
        ("C3-C4", "C3-C4"),  # a bipolar derivation is no electrode
        ("EEG", "EEG"),
        ("EEGC3", "EEGC3"),
    ],
)
def test_a_label_is_reduced_to_its_electrode(label, electrode):
    assert canonical(label) == electrode


def test_the_labels_of_the_competition_name_28_different_electrodes():
    assert len({canonical(label) for label in CHANNELS}) == len(CHANNELS) == 28


@given(st.permutations(CHANNELS), st.sampled_from(["{}", "EEG {}", "{}.", "EEG {}-Ref", " {} ", "{}-A1"]))
@MODEST
def test_in_any_order_and_spelling_each_wanted_channel_finds_its_own(found, spelling):
    index = match_channels(CHANNELS, [spelling.format(label).lower() for label in found])
    assert [found[i] for i in index] == list(CHANNELS)


def test_the_index_reorders_a_chunk_to_the_bundle_s_order_and_drops_the_rest():
    chunk = np.array([[10, 20, 30, 40]])
    index = match_channels(["C3", "Cz", "C4"], ["C4", "Trigger", "C3", "Cz"])
    assert index == [2, 3, 0]
    assert chunk[:, index].tolist() == [[30, 40, 10]]


def test_old_and_new_names_of_the_10_20_system_are_one_electrode_either_way():
    assert match_channels(["T7", "T8", "P7", "P8"], ["T5", "T6", "T3", "T4"]) == [2, 3, 0, 1]
    assert match_channels(["T3", "T5"], ["P7", "T7"]) == [1, 0]


def test_a_label_equal_to_the_letter_wins_over_another_spelling_of_the_electrode():
    assert match_channels(["C3"], ["EEG C3", "c3", "C3"]) == [2]
    assert match_channels(["T3"], ["T7", "T3"]) == [1]


@pytest.mark.parametrize("found", [["EEG C3", "c3."], ["C3", "C3"], ["T3", "T7"]])
def test_two_labels_for_one_electrode_are_refused_and_both_named(found):
    wanted = ["C3"] if "T3" not in found else ["t7"]
    with pytest.raises(StreamRefusedError) as error:
        match_channels(wanted, found, stream="Stream 'Amp'")
    assert str(error.value).startswith(f"Stream 'Amp': channels {found[0]!r}, {found[1]!r} both name electrode")


def test_duplicates_among_unused_channels_do_not_matter():
    assert match_channels(["Cz"], ["AUX", "AUX", "Cz"]) == [2]


def test_all_missing_channels_are_named_with_those_found():
    with pytest.raises(StreamRefusedError) as error:
        match_channels(["C3", "Cz", "C4", "O1"], ["C4", "Fz"], stream="Stream 'Amp'")
    message = str(error.value)
    assert message.startswith("Stream 'Amp' lacks 3 of the 4 channels of the bundle: C3, Cz, O1. It has C4, Fz.")
    assert "[stream] channels = [...]" in message


def test_a_stream_without_labels_is_refused():
    with pytest.raises(StreamRefusedError, match=r"lacks 1 of the 1 channels .* It has no labels"):
        match_channels(["C3"], [])


@given(wanted=st.lists(st.text(max_size=4), max_size=5), found=st.lists(st.text(max_size=4), max_size=5))
@MODEST
def test_whatever_the_labels_each_is_matched_to_its_electrode_or_the_stream_is_refused(wanted, found):
    try:
        index = match_channels(wanted, found)
    except StreamRefusedError:
        return
    assert [canonical(found[i]) for i in index] == [canonical(label) for label in wanted]


# -- units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("microvolts", 1.0),
        ("Microvolt", 1.0),
        ("uV", 1.0),
        ("UV", 1.0),
        (" uV ", 1.0),
        ("\u00b5V", 1.0),  # MICRO SIGN
        ("\u03bcV", 1.0),  # GREEK SMALL LETTER MU
        ("nV", 1e-3),
        ("nanovolts", 1e-3),
        ("mV", 1e3),
        ("millivolts", 1e3),
        ("V", 1e6),
        ("Volt", 1e6),
        ("volts", 1e6),
    ],
)
def test_units_and_their_factors_to_microvolts(unit, factor):
    assert microvolts_per(unit) == factor


MICROVOLTS = (
    "uVolts uVolt microvolt microvolts Microvolts µVolt μVolts ÂµV Î¼V \ufffdV \udcb5V uV. MicroV micro-volts UV muV"
)
MICRO_SIGNS = [b"\xb5V".decode("latin-1"), b"\xc2\xb5V".decode(), b"\xc2\xb5V".decode("latin-1"), "µV".upper()]


@pytest.mark.parametrize("unit", [*MICROVOLTS.split(), *MICRO_SIGNS, "micro volts", " micro Volt "])
def test_every_spelling_of_microvolts_has_the_factor_1(unit):
    assert microvolts_per(unit) == 1.0


@pytest.mark.parametrize("unit", ["", " ", "counts", "T", "uV/Hz", "kV", "microvolts^2", "?"])
def test_another_unit_is_refused_with_the_way_out(unit):
    with pytest.raises(StreamRefusedError) as error:
        microvolts_per(unit, stream="Stream 'Amp'")
    assert str(error.value).startswith(f"Stream 'Amp' has the unit {unit!r}")
    assert '[stream] unit = "uV"' in str(error.value)
