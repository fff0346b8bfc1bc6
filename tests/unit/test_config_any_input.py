"""Any input is a configuration or a `UsageError`, and valid values arrive exactly."""

from __future__ import annotations

import msgspec
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from config_helpers import train
from pretap.config import load_config
from pretap.config.serve import ServeConfig, load_decoders
from pretap.config.train import TrainConfig
from pretap.errors import UsageError

MODEST = settings(deadline=None, max_examples=80)
names = st.sampled_from(
    [
        "network",
        "signal",
        "scaling",
        "fit",
        "evaluation",
        "stream",
        "decode",
        "cue",
        "kind",
        "hidden",
        "hop_ms",
        "folds",
    ]
)
values = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.sampled_from(["lstm", "average", "nadam", "json"])
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text("ab.", max_size=2), inner, max_size=4),
    max_leaves=12,
)


@given(table=st.dictionaries(names, values, max_size=5), kind=st.sampled_from([TrainConfig, ServeConfig]))
@MODEST
def test_any_toml_table_is_a_configuration_or_a_usage_error(config_file, table, kind):
    config_file.write_text(tomli_w.dumps(table), encoding="utf-8")
    try:
        config = load_config(kind, config_file)
    except UsageError as error:
        assert str(config_file) in str(error)  # noqa: PT017 - a configuration is as good an outcome
        return
    assert msgspec.convert(msgspec.to_builtins(config), kind) == config


tables = st.dictionaries(names, values, max_size=3)


@given(table=tables, entries=st.lists(tables | values, max_size=3))
@MODEST
def test_any_array_of_decoders_is_configurations_or_a_usage_error(config_file, table, entries):
    config_file.write_text(tomli_w.dumps(table | {"decoders": entries}), encoding="utf-8")
    try:
        configs = load_decoders(config_file)
    except UsageError as error:
        assert str(config_file) in str(error)  # noqa: PT017 - configurations are as good an outcome
        return
    assert len(configs) == len(entries)


@given(st.text(max_size=40))
@MODEST
def test_any_text_after_set_is_a_configuration_or_a_usage_error(text):
    for override in (text, f"fit.{text}", f"fit.learning_rate={text}", f"network={text}"):
        try:
            config = train(override)
        except UsageError:
            continue
        assert isinstance(config, TrainConfig)


@given(st.binary(max_size=60))
@MODEST
def test_any_file_is_a_configuration_or_a_usage_error(config_file, content):
    config_file.write_bytes(content)
    try:
        config = load_config(ServeConfig, config_file)
    except UsageError:
        return
    assert config == ServeConfig()  # nothing but comments and white space


@given(
    epochs=st.integers(1, 100_000),
    rate=st.floats(1e-9, 1e6),
    hidden=st.lists(st.integers(1, 1024), min_size=1, max_size=8),
    divide_uv=st.floats(1e-6, 1e6),
)
@MODEST
def test_values_in_range_are_read_exactly_from_a_file_and_from_set(config_file, epochs, rate, hidden, divide_uv):
    table = {
        "network": {"kind": "lstm", "hidden": hidden},
        "fit": {"max_epochs": epochs, "learning_rate": rate},
        "scaling": {"divide_uv": divide_uv},
    }
    config_file.write_text(tomli_w.dumps(table), encoding="utf-8")
    config = load_config(TrainConfig, config_file)
    assert (config.fit.max_epochs, config.fit.learning_rate, config.scaling.divide_uv) == (epochs, rate, divide_uv)
    assert config.network.hidden == tuple(hidden)
    by_set = (f"network.hidden={hidden}", f"fit.max_epochs={epochs}", f"fit.learning_rate={rate!r}")
    assert train(*by_set, f"scaling.divide_uv={divide_uv!r}") == config
