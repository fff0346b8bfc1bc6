"""A file with several decoders is one configuration each."""

from __future__ import annotations

import pytest

from config_helpers import serve
from pretap.config import find_config
from pretap.config.serve import ServeConfig, load_decoders
from pretap.errors import UsageError

SECTIONS = "stream, decode, cue, adapt, policy, quality, markers, outputs"
STREAM = "query, channels, unit, sfreq_hz, counter, counter_wraps_at, bad, max_interpolated, wait_s, reconnect_s"
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


def decoders(config_file, text: str, *overrides: str):
    config_file.write_text(text, encoding="utf-8")
    return load_decoders(config_file, overrides)


def decoders_refusal(config_file, text: str, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        decoders(config_file, text, *overrides)
    return str(error.value).removeprefix(f"{config_file}: ")


def test_a_file_without_decoders_is_one_decoder_whose_bundle_it_does_not_name(config_file):
    assert load_decoders() == [(None, ServeConfig())]
    assert decoders(config_file, "[decode]\nhop_ms = 20.0", "markers.name=anna") == [
        (None, serve("decode.hop_ms=20.0", "markers.name=anna"))
    ]


def test_the_keys_of_each_decoder_override_the_common_ones(config_file):
    common = ("stream.unit=uV", "decode.hop_ms=20.0", "stream.wait_s=5.0")
    anna = serve(*common, 'stream.query="name=AmpA"', "markers.name=anna")
    ben = serve(
        *common, 'stream.query="name=AmpB"', "stream.wait_s=7.0", "decode.hop_ms=30.0", 'cue.patterns=["go"]',
        "policy.threshold=0.75", "markers.name=ben", "markers.format=label",
    )  # fmt: skip
    assert decoders(config_file, TWO) == [("anna.safetensors", anna), (None, ben)]


def test_a_set_applies_to_all_decoders_and_overrides_their_keys(config_file):
    both = decoders(config_file, TWO, "decode.hop_ms=40.0", "stream.query=type=EEG")
    assert [(each.decode.hop_ms, each.stream.query) for _, each in both] == [(40.0, "type=EEG")] * 2
    assert [each.stream.wait_s for _, each in both] == [5.0, 7.0]


def test_the_example_in_the_shipped_file_is_two_decoders(config_file):
    text = find_config("serve").read_text(encoding="utf-8")
    common, example = text.split("#\n# [[decoders]]", 1)
    example = "[[decoders]]" + example.replace("\n# ", "\n").replace("\n#\n", "\n\n")
    both = decoders(config_file, common + example)
    assert [(name, each.stream.query, each.markers.name) for name, each in both] == [
        ("anna.safetensors", "name=AmpA", "anna"),
        ("ben.safetensors", "name=AmpB", "ben"),
    ]


def test_one_entry_is_one_decoder(config_file):
    assert decoders(config_file, "[[decoders]]\nbundle = 'a'") == [("a", ServeConfig())]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "stream.querry = 'x'",
            f"Object contains unknown field `querry` - at `$.decoders[1].stream`; [stream] has {STREAM}. "
            "Did you mean 'query'?",
        ),
        (
            "bundel = 'x'",
            f"Object contains unknown field `bundel` - at `$.decoders[1]`; [decoders] has {SECTIONS}, bundle. "
            "Did you mean 'bundle'?",
        ),
        (
            "network.kind = 'lstm'",
            f"Object contains unknown field `network` - at `$.decoders[1]`; [decoders] has {SECTIONS}, bundle.",
        ),
        ("bundle = ''", "Expected `str` of length >= 1 - at `$.decoders[1].bundle`, got ''"),
        ("bundle = 3", "Expected `str | null`, got `int` - at `$.decoders[1].bundle`"),
        ("stream.reconnect_s = -1", "Expected `float` >= 0.0 - at `$.decoders[1].stream.reconnect_s`, got '-1'"),
    ],
)
def test_a_bad_key_of_a_decoder_is_refused_with_its_path(config_file, more, message):
    assert decoders_refusal(config_file, TWO + more) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decoders = []", "Expected `array` of length >= 1 - at `$.decoders`, got '[]'"),
        ("decoders = [3]", "Expected `object`, got `int` - at `$.decoders[0]`"),
        ("[decoders]\nbundle = 'a'", "Expected `array | null`, got `object` - at `$.decoders`"),
        ("[[decoders]]\ndecode = 3", "Expected `object`, got `int` - at `$.decoders[0].decode`"),
        (
            "[decode]\nhop = 3\n[[decoders]]",
            "Object contains unknown field `hop` - at `$.decode`; [decode] has hop_ms, engine, bundle_sha256. "
            "Did you mean 'hop_ms'?",
        ),
        ("[[decoder]]", f"Object contains unknown field `decoder`; there are {SECTIONS}. Did you mean 'decode'?"),
    ],
)
def test_decoders_are_an_array_of_tables_with_known_keys(config_file, text, message):
    assert decoders_refusal(config_file, text) == message


@pytest.mark.parametrize("name", ["anna", "Anna"])
def test_two_decoders_of_one_name_are_refused(config_file, name):
    assert decoders_refusal(config_file, TWO.replace('"ben"', f'"{name}"')) == (
        f"decoders[0] and decoders[1] both have markers.name = {name!r}, but each needs a name of its own. "
        "Upper and lower case count as the same."
    )
    assert "'pretap', but each needs a name of its own" in decoders_refusal(config_file, "[[decoders]]\n[[decoders]]")
    assert "'x', but each needs a name of its own" in decoders_refusal(config_file, TWO, "markers.name=x")


def test_a_set_cannot_make_decoders_and_its_bad_value_is_refused(config_file):
    unknown = f"--set 'decoders=[{{}}]': Object contains unknown field `decoders`; there are {SECTIONS}. "
    assert decoders_refusal(config_file, TWO, "decoders=[{}]").startswith(unknown)
    assert decoders_refusal(config_file, "", "decoders=[{}]").startswith(unknown)
    message = "--set 'decode.hop_ms=0': Expected `float` > 0.0 - at `$.decode.hop_ms`, got '0'"
    assert decoders_refusal(config_file, TWO, "decode.hop_ms=0") == message
