"""A wrong key of a configuration is refused with its path."""

from __future__ import annotations

import sys

import msgspec
import pytest

from config_helpers import refusal
from pretap.config import load_config
from pretap.config.serve import ServeConfig
from pretap.config.train import TrainConfig
from pretap.errors import UsageError


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


def test_an_unknown_key_in_a_file_is_refused_with_the_file_s_name_and_its_path(config_file):
    config_file.write_text("[network]\nkind='lstm'\nhidden=[3]\n[fit]\nepochs=3\n", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_config(TrainConfig, config_file)
    assert str(error.value).startswith(
        f"{config_file}: Object contains unknown field `epochs` - at `$.fit`; [fit] has optimizer, learning_rate, "
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
    (TrainConfig, "recording.sfreq_hz"),
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
    (TrainConfig, "fit.drop_electrodes"),
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


def test_the_list_above_has_every_number():
    found = {
        f"{table.name}.{field.name}"
        for kind in (TrainConfig, ServeConfig)
        for table in msgspec.structs.fields(kind)
        for field in (msgspec.structs.fields(table.type) if isinstance(table.type, type) else ())
        if isinstance(field.default, float) or (field.default is None and "float" in str(field.type))
        if field.name != "window_ms"  # two numbers
    }
    assert found == {key for _, key in NUMBERS}


@pytest.mark.parametrize(("kind", "key"), NUMBERS)
def test_nan_is_refused(kind, key):
    assert f"`$.{key}`" in refusal(kind, f"{key}=nan")


@pytest.mark.parametrize(("kind", "key"), [item for item in NUMBERS if not item[1].startswith("stream.")])
def test_infinity_is_refused_except_for_waiting_times(kind, key):
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
    with pytest.raises(UsageError, match=r"expected \[network\], or \[candidates\] to choose among"):
        load_config(TrainConfig)


@pytest.mark.parametrize(
    "content",
    [
        b"[fit",
        b"a = 1\na = 2",
        b"\xff\xff",
        b"a = " + b"[" * 50_000,
        b"a = " + b"9" * (sys.get_int_max_str_digits() + 1),
        b"{}",
    ],
    ids=["open", "twice", "not utf-8", "nested", "many digits", "json"],
)
def test_an_invalid_toml_file_is_refused_by_its_name(config_file, content):
    config_file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        load_config(ServeConfig, config_file)
    assert str(error.value).startswith(f"{config_file} is not valid TOML: ")


def test_no_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        load_config(ServeConfig, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(ServeConfig, tmp_path)


@pytest.mark.parametrize(
    ("file", "override", "start", "end"),
    [
        ("", "fit.max_epoch=3", "--set 'fit.max_epoch=3': Object contains", "Did you mean 'max_epochs'?"),
        ("", "Fit.max_epochs=3", "--set 'Fit.max_epochs=3': Object contains", "Did you mean 'fit'?"),
        ("", "fit.zzz=3", "--set 'fit.zzz=3': Object contains", "members, calibrate."),
        ("", "fit.optimizer=adam", "--set 'fit.optimizer=adam': Invalid", "one of adamw, nadam. Did you mean 'nadam'?"),
        ("", "network.kind=lsmt", "--set 'network.kind=lsmt': Invalid value", "average. Did you mean 'lstm'?"),
        ("", "network.hiden=[4]", "--set 'network.hiden=[4]': Object", "[network] has hidden. Did you mean 'hidden'?"),
        ("", "evaluation.folds=1", "--set 'evaluation.folds=1': folds = 1", "{'folds': 1}\""),
        ("[fit]\nmax_epoch = 3", "fit.mirror=0.5", "{file}: Object", "Did you mean 'max_epochs'?"),
        ("[evaluation]\nfolds = 1", "evaluation.repeats=2", "{file}: folds = 1", "{'folds': 1, 'repeats': 2}\""),
        ("[evaluation]\nfolds = 5", "evaluation.folds=1", "--set 'evaluation.folds=1': folds = 1", "{'folds': 1}\""),
    ],
)
def test_an_error_names_its_source_and_the_key_or_value_that_was_meant(config_file, file, override, start, end):
    config_file.write_text(f"network = {{kind = 'lstm', hidden = [3]}}\n{file}", encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_config(TrainConfig, config_file, [override])
    assert str(error.value).startswith(start.format(file=config_file))
    assert str(error.value).endswith(end)
