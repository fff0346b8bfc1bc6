"""``--xdf-stream`` chooses one of several EEG streams of an XDF file."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load_file

from pretap.bundle.file import load as load_bundle
from pretap.bundle.file import write_bundle
from pretap_realtime.record import xdf_writer
from xdf_files import counted


@pytest.fixture
def two_eegs(tmp_path) -> Path:
    """A recording of an amplifier whose channel order changed in the meantime."""
    file = xdf_writer.XdfFile(tmp_path / "two.xdf")
    for number, labels in ((1, "O1 C4 Cz C3"), (5, "C3 Cz C4 O1")):
        channels = "".join(f"<channel><label>{label}</label><unit>uV</unit></channel>" for label in labels.split())
        xml = (
            "<info><name>Amp</name><type>EEG</type><channel_count>4</channel_count><source_id>s</source_id>"
            "<channel_format>float32</channel_format><nominal_srate>100</nominal_srate>"
            f"<desc><channels>{channels}</channels></desc></info>"
        )
        t_s = 1000.0 * number + np.arange(60 * number) / 100
        file.write([xdf_writer.stream_header(number, xml), xdf_writer.samples(number, counted(len(t_s)), t_s)])
    file.close()
    return file.path


def test_one_of_two_eeg_streams_is_chosen_by_the_id_that_the_refusal_names(start, bundle, two_eegs, tmp_path):
    decoder, of_recordings = load_bundle(bundle), tmp_path / "of_recordings.safetensors"
    events = {"left": ("tap/left",), "right": ("tap/right",)}
    recipe = replace(decoder.manifest.training.config, events=events)
    training = replace(decoder.manifest.training, config=recipe)
    weights = {name: each for name, each in load_file(bundle).items() if not name.startswith("probe")}
    write_bundle(of_recordings, replace(decoder.manifest, training=training), weights)
    name = f"play-{secrets.token_hex(4)}"
    commands = {
        ("score", str(bundle), str(two_eegs)): (0, "51 decisions"),
        ("replay", str(two_eegs), "--name", name): (0, f"{name}: 300 samples and 0 markers sent"),
        ("train", "taps", "--recording", str(two_eegs)): (7, "No event of class 'left'"),
        ("evaluate", str(of_recordings), "--recording", str(two_eegs)): (7, "No event of class 'left'"),
    }
    for command, (code, said) in commands.items():
        refused = start(*command)
        assert refused.wait() == 7
        assert "name one with --xdf-stream. It has 'Amp' (id 1, " in refused.said
        assert "'Amp' (id 5, " in refused.said
        chosen = start(*command, "--xdf-stream", "5")
        assert (chosen.wait(), bool(re.search(said, chosen.said))) == (code, True), chosen.said


def test_xdf_stream_is_refused_for_other_formats(start, bundle, tmp_path):
    for command in (["score", str(bundle), "synthetic"], ["replay", str(tmp_path)]):
        child = start(*command, "--xdf-stream", "5")
        assert child.wait() == 2
        assert "only XDF files have streams to choose from" in child.said
    for command in (["train", "taps"], ["evaluate", str(bundle)]):
        child = start(*command, "--xdf-stream", "5")
        assert child.wait() == 2
        assert "--xdf-stream chooses a stream in the files of --recording" in child.said
