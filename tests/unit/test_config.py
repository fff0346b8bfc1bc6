"""Configurations are found by name, and `--set` overrides their keys."""

from __future__ import annotations

import math

import msgspec
import pytest

from config_helpers import CONFIGS, refusal, serve, train
from pretap.config import find_config, load_config
from pretap.config.serve import DecodeConfig, ServeConfig, StreamConfig
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.networks import LstmSpec


def test_tutorial_and_default_are_shipped():
    assert {"default", "tutorial"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads_and_is_found_by_its_name(path):
    kind = ServeConfig if path.stem == "serve" else TrainConfig
    config = load_config(kind, find_config(path.stem))
    assert config == load_config(kind, path) == load_config(kind, find_config(path.name))


NO_DECIMATION = {"decimate_to_hz": None, "pass_hz": 30.0, "stop_hz": 48.0, "mains_hz": (50.0, 60.0), "fir_ms": 59.0,
                 "delay_ms": 15.0, "start_ms": 30.0}  # fmt: skip


def test_the_tutorial_s_recipe_is_the_one_of_the_tutorial():
    config = load_config(TrainConfig, find_config("tutorial"))
    recipe = msgspec.to_builtins(config)
    assert {key: recipe[key] for key in ("network", "signal", "scaling", "fit")} == {
        "network": {"kind": "lstm", "hidden": (10, 10, 5)},
        "signal": {"sfreq_hz": 1000.0},
        "scaling": {"reference": "none", "baseline_ms": 0.0, "block_ms": 0.0, "divide_uv": 200.0} | NO_DECIMATION,
        "fit": {
            "optimizer": "nadam",
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "batch_size": 20,
            "max_epochs": 15,
            "betas": (0.9, 0.999),
            "schedule": "constant",
            "mirror": 0.0,
            "drop_electrodes": 0.0,
            "members": 1,
            "calibrate": True,
        },
    }
    assert (config.evaluation.folds, config.evaluation.repeats) == (5, 1)


def test_serve_needs_no_file_and_its_defaults_are_those_of_the_design():
    config = load_config(ServeConfig)
    assert (config.stream.query, config.decode.hop_ms, config.decode.engine) == ("type=EEG", 50.0, "auto")
    assert (config.cue.query, config.cue.offset_ms, config.policy.threshold) == ("", None, 0.0)
    assert (config.markers.name, config.markers.format) == ("pretap", "json")


def test_a_path_is_taken_as_it_is(config_file):
    config_file.write_text("", encoding="utf-8")
    assert find_config(str(config_file)) == config_file


@pytest.mark.parametrize("name", ["tutorials", "", "x" * 5000, "a\0b", "/", "."])
def test_an_unknown_name_is_refused_and_the_shipped_ones_listed(name):
    names = ", ".join(path.stem for path in CONFIGS)
    with pytest.raises(UsageError) as error:
        find_config(name)
    assert f"shipped names: {names}." in str(error.value)


def test_a_directory_of_that_name_does_not_hide_a_shipped_configuration(tmp_path, monkeypatch):
    (tmp_path / "tutorial").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_config("tutorial").name == "tutorial.toml"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_configuration(config_file, encoding):
    config_file.write_text("[decode]\nhop_ms = 20\n", encoding=encoding)
    assert load_config(ServeConfig, config_file).decode.hop_ms == 20


def test_set_wins_over_the_file_which_wins_over_the_defaults_and_the_last_set_wins(config_file):
    config_file.write_text("[decode]\nhop_ms = 20\n[policy]\nthreshold = 0.7\n", encoding="utf-8")
    config = load_config(ServeConfig, config_file, ["decode.hop_ms=30", "decode.hop_ms=40"])
    assert config.decode.hop_ms == 40
    assert config.policy.threshold == 0.7
    assert config.decode.engine == "auto"
    assert load_config(ServeConfig, config_file).decode.hop_ms == 20


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("fit.max_epochs=30", lambda c: c.fit.max_epochs, 30),
        (" fit.max_epochs = 30 ", lambda c: c.fit.max_epochs, 30),
        ("fit.learning_rate=5e-3", lambda c: c.fit.learning_rate, 0.005),
        ("fit.learning_rate=1", lambda c: c.fit.learning_rate, 1.0),
        ("scaling.reference=average", lambda c: c.scaling.reference, "average"),
        ("scaling.reference='average'", lambda c: c.scaling.reference, "average"),
        ("network.hidden=[8, 3]", lambda c: c.network, LstmSpec(hidden=(8, 3))),
        ('network={kind="lstm", hidden=[2]}', lambda c: c.network, LstmSpec(hidden=(2,))),
        ("signal={sfreq_hz=100}", lambda c: c.signal.sfreq_hz, 100.0),
    ],
)
def test_the_value_of_set_is_toml_or_a_bare_word(override, read, value):
    assert read(train(override)) == value


def test_a_bare_word_may_hold_an_equals_sign():
    assert serve("stream.query=name=Amp,type=EEG").stream.query == "name=Amp,type=EEG"


@pytest.mark.parametrize("override", ["", "fit", "=1", ".=1", "fit.=1", ".fit=1", "fit..x=1"])
def test_a_set_that_names_no_key_is_refused_with_an_example(override):
    message = refusal(TrainConfig, override)
    assert message == f"--set {override!r}: expected key.subkey=value, such as fit.max_epochs=30."


def test_a_set_through_a_value_is_refused():
    assert (
        refusal(TrainConfig, "fit=3", "fit.max_epochs=3") == "--set 'fit.max_epochs=3': 'fit' is a value, not a table."
    )
    assert "`$.fit.max_epochs`" in refusal(TrainConfig, "fit.max_epochs.x=3")


def test_a_second_line_in_a_set_is_refused_and_not_dropped():
    assert "`$.fit.max_epochs`" in refusal(TrainConfig, "fit.max_epochs=3\nbatch_size=7")


def test_an_argument_that_is_not_utf_8_is_refused():
    assert refusal(ServeConfig, "stream.query=\udcff") == "--set 'stream.query=\\udcff': not valid UTF-8."
    assert refusal(ServeConfig, "decode.engine=\udcff") == "--set 'decode.engine=\\udcff': not valid UTF-8."


def test_values_keep_their_type_and_are_applied_after_the_texts_and_only_if_given():
    values = {"stream.query": 'name=a"b\\n = 3', "decode.hop_ms": 20, "stream.wait_s": math.inf, "decode.engine": None}
    config = load_config(ServeConfig, None, ["decode.hop_ms=30", "decode.engine=numpy"], values)
    assert config.stream == StreamConfig(query='name=a"b\\n = 3', wait_s=math.inf)
    assert config.decode == DecodeConfig(hop_ms=20.0, engine="numpy")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("stream.query", 3, "stream.query: Expected `str`, got `int` - at `$.stream.query`"),
        ("stream.wait_s", math.nan, "stream.wait_s: Expected `float` >= 0.0 - at `$.stream.wait_s`, got 'nan'"),
        ("stream.query", "\udcff", "stream.query: not valid UTF-8."),
        ("stream.query.x", "y", "stream.query.x: 'query' is a value, not a table."),
    ],
)
def test_a_value_is_refused_with_its_key(key, value, sentence):
    with pytest.raises(UsageError) as caught:
        load_config(ServeConfig, None, ["stream.query=z"], {key: value})
    assert str(caught.value) == sentence


def test_brackets_nested_beyond_the_parser_are_refused():
    assert "`$.decode.hop_ms`" in refusal(ServeConfig, "decode.hop_ms=" + "[" * 50_000)
