"""Numbers and names in sentences."""

import pytest

from keras_initx.report import _text


def test_names_are_shortened_where_they_do_not_differ():
    blocks = [f"transformer_layer_{k}_self_attention" for k in range(2)]
    names = [f"{block}/{part}" for block in blocks for part in ("query", "attention_output")]
    assert _text.shorten_names(names, 24) == [
        "…0_self_attention/query",
        "…0_…attention_output",
        "…1_self_attention/query",
        "…1_…attention_output",
    ]


def test_shortened_names_stay_different():
    names = ["first_attention_layer_norm", "second_attention_layer_norm", "other_norm"]
    assert len(set(_text.shorten_names(names, 8))) == 3
    assert _text.shorten_names(["a_very_long_name"] * 2, 8) == ["…name"] * 2


NUMBERS = [(0.000123, "0.00012"), (1.23e-5, "1.2e-5"), (-4e10, "-4e10"), (0, "0"), (152, "150"), (-999.9, "-1e3")]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_numbers_are_short(number, text):
    assert _text.format_number(number) == text
