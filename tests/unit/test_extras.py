"""A package of an extra that is not installed is an error that names the command to install it."""

from __future__ import annotations

import sys

import pytest

from pretap.errors import MissingPackageError
from pretap.extras import import_extra


def test_an_installed_package_is_imported():
    assert import_extra("json.decoder", needed_by="A test") is sys.modules["json.decoder"]


@pytest.mark.parametrize(("module", "package"), [("scipy", "scipy"), ("scipy.signal", "scipy")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    sentence = rf"^Resampling needs {package}, which is not installed\. Run: pip install 'pretap\[offline\]'$"
    with pytest.raises(MissingPackageError, match=sentence):
        import_extra(module, needed_by="Resampling")
