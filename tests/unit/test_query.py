"""A query from the user cannot become anything but comparisons."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretap.errors import UsageError
from pretap_realtime.lsl.query import parse_query, predicate


@given(st.text() | st.text("abc=,'\"\r\n)(/*[] ", min_size=1).map(lambda text: f"name={text}"))
def test_any_text_is_refused_or_becomes_comparisons_of_known_keys(text):
    try:
        query = parse_query(text)
    except UsageError:
        return
    comparison = r"(name|type|source_id|hostname|uid)='[^'\x00-\x1f]+'"
    assert re.fullmatch(f"{comparison}( and {comparison})*", predicate(query))


@pytest.mark.parametrize("text", ["x' or '1'='1", 'name=a"b', "name=a\nb", "source_id=\x1b[2J"])
def test_quotes_and_controls_are_refused_with_the_way_out(text):
    with pytest.raises(UsageError):
        parse_query(text)
