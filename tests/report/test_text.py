"""Numbers and names in sentences."""

import pytest

from keras_initx.report import _text


def test_long_names_are_cut_in_the_middle():
    names = ["stack/block_0/attention/query/kernel", "stack/block_1/attention/query/kernel", "head/kernel"]
    assert _text.shorten_names(names, 24) == [
        "stack/block_0…n/query/kernel",
        "stack/block_1…n/query/kernel",
        "head/kernel",
    ]
    assert _text.shorten_names(names[1:], 24) == ["stack/block…query/kernel", "head/kernel"]


def test_shortened_names_stay_different():
    names = ["first_attention_layer_norm", "second_attention_layer_norm", "other_norm"]
    assert len(set(_text.shorten_names(names, 8))) == 3
    assert _text.shorten_names(["a_very_long_name"] * 2, 8) == ["a_v…name"] * 2


NUMBERS = [(0.000123, "0.00012"), (1.23e-5, "1.2e-5"), (-4e10, "-4e10"), (0, "0"), (152, "150"), (-999.9, "-1e3")]


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_numbers_are_short(number, text):
    assert _text.format_number(number) == text
