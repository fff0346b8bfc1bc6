"""A configuration is read exactly or refused with the path of the key that is wrong."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.config.reading import find_config, load_config
from pretap.config.serve import DecodeConfig, ServeConfig, StreamConfig, load_decoders
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.networks import LstmSpec

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
NETWORK = ("network.kind=lstm", "network.hidden=[4]")
MODEST = settings(deadline=None, max_examples=80)


def train(*overrides: str) -> TrainConfig:
    return load_config(TrainConfig, overrides=[*NETWORK, *overrides])


def serve(*overrides: str) -> ServeConfig:
    return load_config(ServeConfig, overrides=overrides)


def refusal(kind, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        load_config(kind, overrides=[*(NETWORK if kind is TrainConfig else ()), *overrides])
    return str(error.value)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("config") / "config.toml"


# -- what is shipped -----------------------------------------------------------------------------------------------


def test_tutorial_and_default_are_shipped():
    assert {"default", "tutorial"} <= {path.stem for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads_and_is_found_by_its_name(path):
    kind = TrainConfig if "[network]" in path.read_text(encoding="utf-8") else ServeConfig
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


# -- finding -------------------------------------------------------------------------------------------------------


def test_a_path_is_taken_as_it_is(file):
    file.write_text("", encoding="utf-8")
    assert find_config(str(file)) == file


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


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "override", "path"),
    [
        (TrainConfig, "fit.foo=1", "field `foo` - at `$.fit`"),
        (TrainConfig, "foo=1", "field `foo`"),
        (TrainConfig, "foo.bar=1", "field `foo`"),
        (TrainConfig, "network.cells=1", "field `cells` - at `$.network`"),
        (TrainConfig, "Fit.max_epochs=1", "field `Fit`"),
        (ServeConfig, "stream.name='x'", "field `name` - at `$.stream`"),
        (ServeConfig, "decode.hop=1", "field `hop` - at `$.decode`"),
        (ServeConfig, "network.kind=lstm", "field `network`"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path(kind, override, path):
    assert path in refusal(kind, override)


def test_an_unknown_key_in_a_file_is_refused_with_the_file_s_name_and_its_path(file):
    file.write_text("[network]\nkind='lstm'\nhidden=[3]\n[fit]\nepochs=3\n", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_config(TrainConfig, file)
    assert str(error.value).startswith(
        f"{file}: Object contains unknown field `epochs` - at `$.fit`; there are optimizer, learning_rate, "
    )


@pytest.mark.parametrize(
    ("kind", "override"),
    [
        (TrainConfig, "fit.max_epochs='3'"),
        (TrainConfig, "fit.max_epochs=3.0"),
        (TrainConfig, "fit.max_epochs=true"),
        (TrainConfig, "fit.max_epochs=0"),
        (TrainConfig, "fit.max_epochs=100001"),
        (TrainConfig, "fit.batch_size=0"),
        (TrainConfig, "fit.batch_size=99999999999999999999"),
        (TrainConfig, "fit.optimizer=sgd"),
        (TrainConfig, "fit.weight_decay=-0.1"),
        (TrainConfig, "signal.sfreq_hz=0"),
        (TrainConfig, "signal.sfreq_hz=true"),
        (TrainConfig, "scaling.reference=mastoids"),
        (TrainConfig, "scaling.baseline_ms=-1"),
        (TrainConfig, "scaling.divide_uv=0"),
        (TrainConfig, "evaluation.folds=-1"),
        (TrainConfig, "evaluation.repeats=0"),
        (TrainConfig, "network.kind=gru"),
        (TrainConfig, "network.hidden=[]"),
        (TrainConfig, "network.hidden=[0]"),
        (TrainConfig, "network.hidden=[1025]"),
        (TrainConfig, "network.hidden=[1,1,1,1,1,1,1,1,1]"),
        (TrainConfig, "network.hidden=10"),
        (TrainConfig, "network.hidden=['10']"),
        (ServeConfig, "stream.channels=C3"),
        (ServeConfig, "stream.channels=['C3', '']"),
        (ServeConfig, "stream.unit=1"),
        (ServeConfig, "stream.wait_s=-1"),
        (ServeConfig, "decode.hop_ms=0"),
        (ServeConfig, "decode.hop_ms=60001"),
        (ServeConfig, "decode.engine=onnx"),
        (ServeConfig, "cue.offset_ms=60001"),
        (ServeConfig, "policy.threshold=1.1"),
        (ServeConfig, "policy.evidence=vote"),
        (ServeConfig, "policy.dwell_ms=60001"),
        (ServeConfig, "quality.policy=ignore"),
        (ServeConfig, "quality.mains_hz=[0.0]"),
        (ServeConfig, "quality.mains_share=1.0"),
        (ServeConfig, "markers.format=xml"),
        (ServeConfig, "markers.name=''"),
        (ServeConfig, "markers.name='two words'"),
        (ServeConfig, 'markers.name="line\\n"'),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_refused_with_its_path(kind, override):
    key = override.partition("=")[0]
    assert f"`$.{key}" in refusal(kind, override)


NUMBERS = [
    (TrainConfig, "signal.sfreq_hz"),
    (TrainConfig, "scaling.baseline_ms"),
    (TrainConfig, "scaling.block_ms"),
    (TrainConfig, "scaling.divide_uv"),
    (TrainConfig, "scaling.decimate_to_hz"),
    (TrainConfig, "scaling.pass_hz"),
    (TrainConfig, "scaling.stop_hz"),
    (TrainConfig, "scaling.delay_ms"),
    (TrainConfig, "scaling.start_ms"),
    (TrainConfig, "scaling.fir_ms"),
    (TrainConfig, "fit.mirror"),
    (TrainConfig, "fit.learning_rate"),
    (TrainConfig, "fit.weight_decay"),
    (TrainConfig, "trials.reject_uv"),
    (TrainConfig, "trials.flat_uv"),
    (ServeConfig, "stream.sfreq_hz"),
    (ServeConfig, "stream.max_interpolated"),
    (ServeConfig, "stream.wait_s"),
    (ServeConfig, "stream.reconnect_s"),
    (ServeConfig, "decode.hop_ms"),
    (ServeConfig, "cue.offset_ms"),
    (ServeConfig, "cue.vote_step_ms"),
    (ServeConfig, "policy.memory_ms"),
    (ServeConfig, "policy.threshold"),
    (ServeConfig, "policy.release"),
    (ServeConfig, "policy.dwell_ms"),
    (ServeConfig, "policy.refractory_ms"),
    (ServeConfig, "quality.mains_share"),
    (ServeConfig, "quality.off_scale"),
    (ServeConfig, "quality.rate_percent"),
]


def test_that_list_holds_every_number_there_is():
    found = {
        f"{table.name}.{field.name}"
        for kind in (TrainConfig, ServeConfig)
        for table in msgspec.structs.fields(kind)
        for field in (msgspec.structs.fields(table.type) if isinstance(table.type, type) else ())
        if isinstance(field.default, float) or (field.default is None and "float" in str(field.type))
    }
    assert found == {key for _, key in NUMBERS}


@pytest.mark.parametrize(("kind", "key"), NUMBERS)
def test_nan_is_no_number(kind, key):
    assert f"`$.{key}`" in refusal(kind, f"{key}=nan")


@pytest.mark.parametrize(("kind", "key"), [item for item in NUMBERS if not item[1].startswith("stream.")])
def test_infinity_is_out_of_range_everywhere_but_for_waiting(kind, key):
    assert f"`$.{key}`" in refusal(kind, f"{key}=inf")
    assert f"`$.{key}`" in refusal(kind, f"{key}=-inf")


def test_one_fold_is_refused_and_none_is_not():
    sentence = (
        "folds = 1 leaves nothing to fit on: expected at least 2, or 0 for no cross-validation - at `$.evaluation`"
    )
    assert sentence in refusal(TrainConfig, "evaluation.folds=1")
    lda = 'network={kind="lda"}'
    assert load_config(TrainConfig, overrides=(lda, "evaluation.folds=0")).evaluation.folds == 0


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["policy.release=0.5"], "release = 0.5 lies above threshold = 0"),
        (["policy.memory_ms=200"], 'evidence = "latest" with memory_ms = 200: expected "latest" with 0'),
        (["policy.evidence=average"], 'evidence = "average" with memory_ms = 0'),
        (["cue.query=name=task", "policy.dwell_ms=50"], 'cue.query = "name=task" decides once per cue'),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(overrides, sentence):
    with pytest.raises(UsageError) as error:
        load_config(ServeConfig, overrides=overrides)
    assert sentence in str(error.value)


def test_a_training_configuration_needs_a_network():
    with pytest.raises(UsageError, match="missing required field `network`"):
        load_config(TrainConfig)


@pytest.mark.parametrize(
    "content",
    [
        b"[fit",
        b"a = 1\na = 2",
        b"\xff\xfe",
        b"a = " + b"[" * 50_000,
        b"a = " + b"9" * (sys.get_int_max_str_digits() + 1),
        b"{}",
    ],
    ids=["open", "twice", "not utf-8", "nested", "many digits", "json"],
)
def test_a_file_that_is_no_toml_is_refused_by_its_name(file, content):
    file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_config(ServeConfig, file)
    assert str(error.value).startswith(f"{file} is not valid TOML: ")


def test_no_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        load_config(ServeConfig, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(ServeConfig, tmp_path)


# -- --set ---------------------------------------------------------------------------------------------------------


def test_set_wins_over_the_file_which_wins_over_the_defaults_and_the_last_set_wins(file):
    file.write_text("[decode]\nhop_ms = 20\n[policy]\nthreshold = 0.7\n", encoding="utf-8")
    config = load_config(ServeConfig, file, ["decode.hop_ms=30", "decode.hop_ms=40"])
    assert config.decode.hop_ms == 40
    assert config.policy.threshold == 0.7
    assert config.decode.engine == "auto"
    assert load_config(ServeConfig, file).decode.hop_ms == 20


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
        ("stream.query", 3, "configuration: Expected `str`, got `int` - at `$.stream.query`"),
        ("stream.wait_s", math.nan, "configuration: Expected `float` >= 0.0 - at `$.stream.wait_s`, got 'nan'"),
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


# -- several decoders ----------------------------------------------------------------------------------------------

SECTIONS = "stream, decode, cue, policy, quality, markers, outputs"
TWO = """
[stream]
unit = "uV"
wait_s = 5.0
[decode]
hop_ms = 20.0
[[decoders]]
bundle = "anna.safetensors"
stream.query = "name=AmpA"
markers.name = "anna"
[[decoders]]
stream.query = "name=AmpB"
stream.wait_s = 7.0
decode = { hop_ms = 30.0 }
cue.patterns = ["go"]
policy.threshold = 0.75
markers = { name = "ben", format = "label" }
"""


def decoders(file, text: str, *overrides: str):
    file.write_text(text, encoding="utf-8")
    return load_decoders(file, overrides)


def decoders_refusal(file, text: str, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        decoders(file, text, *overrides)
    return str(error.value).removeprefix(f"{file}: ")


def test_a_file_without_decoders_is_one_decoder_whose_bundle_it_does_not_name(file):
    assert load_decoders() == [(None, ServeConfig())]
    assert decoders(file, "[decode]\nhop_ms = 20.0", "markers.name=anna") == [
        (None, serve("decode.hop_ms=20.0", "markers.name=anna"))
    ]


def test_each_decoder_lays_its_own_keys_over_the_common_ones(file):
    common = ("stream.unit=uV", "decode.hop_ms=20.0", "stream.wait_s=5.0")
    anna = serve(*common, 'stream.query="name=AmpA"', "markers.name=anna")
    ben = serve(
        *common, 'stream.query="name=AmpB"', "stream.wait_s=7.0", "decode.hop_ms=30.0", 'cue.patterns=["go"]',
        "policy.threshold=0.75", "markers.name=ben", "markers.format=label",
    )  # fmt: skip
    assert decoders(file, TWO) == [("anna.safetensors", anna), (None, ben)]


def test_a_set_holds_for_all_decoders_and_wins_over_their_own_keys(file):
    both = decoders(file, TWO, "decode.hop_ms=40.0", "stream.query=type=EEG")
    assert [(each.decode.hop_ms, each.stream.query) for _, each in both] == [(40.0, "type=EEG")] * 2
    assert [each.stream.wait_s for _, each in both] == [5.0, 7.0]


def test_the_example_in_the_shipped_file_is_two_decoders(file):
    text = find_config("serve").read_text(encoding="utf-8")
    common, example = text.split("#\n# [[decoders]]", 1)
    example = "[[decoders]]" + example.replace("\n# ", "\n").replace("\n#\n", "\n\n")
    both = decoders(file, common + example)
    assert [(name, each.stream.query, each.markers.name) for name, each in both] == [
        ("anna.safetensors", "name=AmpA", "anna"),
        ("ben.safetensors", "name=AmpB", "ben"),
    ]


def test_one_entry_is_one_decoder(file):
    assert decoders(file, "[[decoders]]\nbundle = 'a'") == [("a", ServeConfig())]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("stream.querry = 'x'", "Object contains unknown field `querry` - at `$.decoders[1].stream`"),
        ("bundel = 'x'", "Object contains unknown field `bundel` - at `$.decoders[1]`"),
        ("network.kind = 'lstm'", "Object contains unknown field `network` - at `$.decoders[1]`"),
        ("decoders = []", "Object contains unknown field `decoders` - at `$.decoders[1]`"),
        ("bundle = ''", "Expected `str` of length >= 1 - at `$.decoders[1].bundle`"),
        ("bundle = 3", "Expected `str | null`, got `int` - at `$.decoders[1].bundle`"),
        ("stream.reconnect_s = -1", "Expected `float` >= 0.0 - at `$.decoders[1].stream.reconnect_s`"),
    ],
)
def test_a_bad_key_of_a_decoder_is_refused_with_its_path(file, more, message):
    assert decoders_refusal(file, TWO + more) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decoders = []", "Expected `array` of length >= 1 - at `$.decoders`, got '[]'"),
        ("decoders = [3]", "Expected `object`, got `int` - at `$.decoders[0]`"),
        ("[decoders]\nbundle = 'a'", "Expected `array | null`, got `object` - at `$.decoders`"),
        ("[[decoders]]\ndecode = 3", "Expected `object`, got `int` - at `$.decoders[0].decode`"),
        (
            "[decode]\nhop = 3\n[[decoders]]",
            "Object contains unknown field `hop` - at `$.decode`; there are hop_ms, engine, bundle_sha256",
        ),
        ("[[decoder]]", f"Object contains unknown field `decoder`; there are {SECTIONS}"),
    ],
)
def test_decoders_are_an_array_of_tables_of_these_keys_and_no_others(file, text, message):
    assert decoders_refusal(file, text) == message


@pytest.mark.parametrize("name", ["anna", "Anna"])
def test_two_decoders_of_one_name_are_refused(file, name):
    assert decoders_refusal(file, TWO.replace('"ben"', f'"{name}"')) == (
        f"decoders[0] and decoders[1] both have markers.name = {name!r}, but each needs a name of its own. "
        "Upper and lower case count as the same."
    )
    assert "'pretap', but each needs a name of its own" in decoders_refusal(file, "[[decoders]]\n[[decoders]]")
    assert "'x', but each needs a name of its own" in decoders_refusal(file, TWO, "markers.name=x")


def test_a_set_cannot_make_decoders_and_its_bad_value_is_refused(file):
    assert (
        decoders_refusal(file, TWO, "decoders=[{}]")
        == f"Object contains unknown field `decoders`; there are {SECTIONS}"
    )
    assert (
        decoders_refusal(file, "", "decoders=[{}]") == f"Object contains unknown field `decoders`; there are {SECTIONS}"
    )
    assert decoders_refusal(file, TWO, "decode.hop_ms=0") == "Expected `float` > 0.0 - at `$.decode.hop_ms`, got '0'"


# -- anything else -------------------------------------------------------------------------------------------------

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
def test_any_toml_table_is_a_configuration_or_a_usage_error(file, table, kind):
    file.write_text(tomli_w.dumps(table), encoding="utf-8")
    try:
        config = load_config(kind, file)
    except UsageError as error:
        assert str(file) in str(error)  # noqa: PT017 - a configuration is as good an outcome
        return
    assert msgspec.convert(msgspec.to_builtins(config), kind) == config


tables = st.dictionaries(names, values, max_size=3)


@given(table=tables, entries=st.lists(tables | values, max_size=3))
@MODEST
def test_any_array_of_decoders_is_configurations_or_a_usage_error(file, table, entries):
    file.write_text(tomli_w.dumps(table | {"decoders": entries}), encoding="utf-8")
    try:
        configs = load_decoders(file)
    except UsageError as error:
        assert str(file) in str(error)  # noqa: PT017 - configurations are as good an outcome
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
def test_any_file_is_a_configuration_or_a_usage_error(file, content):
    file.write_bytes(content)
    try:
        config = load_config(ServeConfig, file)
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
def test_what_is_in_range_arrives_exactly_by_file_and_by_set(file, epochs, rate, hidden, divide_uv):
    table = {
        "network": {"kind": "lstm", "hidden": hidden},
        "fit": {"max_epochs": epochs, "learning_rate": rate},
        "scaling": {"divide_uv": divide_uv},
    }
    file.write_text(tomli_w.dumps(table), encoding="utf-8")
    config = load_config(TrainConfig, file)
    assert (config.fit.max_epochs, config.fit.learning_rate, config.scaling.divide_uv) == (epochs, rate, divide_uv)
    assert config.network.hidden == tuple(hidden)
    by_set = (f"network.hidden={hidden}", f"fit.max_epochs={epochs}", f"fit.learning_rate={rate!r}")
    assert train(*by_set, f"scaling.divide_uv={divide_uv!r}") == config
