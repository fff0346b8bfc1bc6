"""The space of a sweep: what it may contain, and which errors name the key."""

from __future__ import annotations

import pytest

from lab_cases import GOOD, space_file
from pretap.errors import UsageError
from pretap_offline.lab.space import read_space


def test_a_space_names_dotted_keys_as_toml_can_write_them(tmp_path):
    space = read_space(space_file(tmp_path, GOOD))
    assert list(space.axes) == ["fit.learning_rate", "fit.max_epochs", "network.hidden"]
    config = space.config({"fit.learning_rate": 0.01, "network.hidden": [3]})
    assert config.fit.learning_rate == 0.01
    assert config.fit.max_epochs == 2
    assert config.network.hidden == (3,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected base = .* and a table \[space\]"),
        ("[space]", r"expected base = .* and a table \[space\]"),
        ("bass = 1\n[space]\nfit.max_epochs = [1, 2]", "got bass"),
        ("[space]\nfit.max_epoch = [1, 2]", r"fit\.max_epoch = 1: Object contains unknown field `max_epoch`"),
        ("[space]\nfitt.max_epochs = [1, 2]", r"fitt\.max_epochs = 1: fitt\.max_epochs: the recipe has no such table"),
        ("[space]\nfit.max_epochs = [1, 2.5]", r"fit\.max_epochs = 2\.5: Expected `int`, got `float`"),
        ("[space]\nfit.max_epochs = { low = 0, high = 3 }", r"fit\.max_epochs = 0: Expected `int` >= 1"),
        ("[space]\nfit.max_epochs = { low = 3, high = 3 }", "expected low < high, got 3 and 3"),
        ("[space]\nfit.weight_decay = { low = 0.0, high = 1.0, log = true }", "log needs low > 0, got 0"),
        ("[space]\nfit.max_epochs = { low = 1, high = 3, step = 3 }", "expected a step above 0 that fits"),
        ("[space]\nfit.max_epochs = { low = 1, high = 4, step = 1, log = true }", "log and step cannot be combined"),
        ("[space]\nfit.max_epochs = { low = 1 }", r"missing required field `high`"),
        ("[space]\nfit.max_epochs = { low = 1, high = 2, hight = 3 }", "unknown field `hight`"),
        ("[space]\nfit.max_epochs = 3", r"fit\.max_epochs: expected { low, high } or a list of choices"),
        ("[space]\nfit.max_epochs = [3]", "expected at least two different choices"),
        ("[space]\nfit.max_epochs = {}", "got an empty table"),
        ("[space]\nevaluation.folds = [3, 4]", r"evaluation\.folds does not affect the fit"),
        ("[space]\nsignal.sfreq_hz = { low = 50, high = 100 }", "expected a list of rates"),
        ("[space", "is not valid TOML"),
    ],
)
def test_a_bad_space_is_refused_with_its_key(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_space(space_file(tmp_path, text))


def test_a_space_of_an_unknown_recipe_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No configuration 'nobody'"):
        read_space(space_file(tmp_path, GOOD, base="nobody"))
