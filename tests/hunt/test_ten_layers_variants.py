"""What pixels, normalization, dropout and a penalty change in the ten layers, as the page on rules says."""

import pytest
from scripts import script

ten_layers = script("ten_layers")
variants = script("ten_layers_variants")


def test_inputs_of_pixels_saturate_tanh():
    assert variants.measure("tanh", "Xavier", raw=True).problems == ["unscaled inputs", "saturated"]


def test_inputs_of_pixels_saturate_tanh_with_small_weights_too():
    assert "saturated" in variants.measure("tanh", "0.01 N", raw=True).problems


def test_inputs_of_pixels_make_the_gradients_of_relu_larger_by_their_mean_square():
    plain, pixels = (variants.measure("relu", "He", raw=raw) for raw in (False, True))
    assert pixels.std == pytest.approx(147 * plain.std, rel=0.05)
    assert pixels.last == pytest.approx(147**2 * plain.last, rel=0.1)


def test_gradients_below_batch_normalization_are_divided_by_the_size_of_the_weights():
    small, large = (variants.measure("relu", name, normalized=True) for name in ("0.01 N", "1.0 N"))
    assert small.std == pytest.approx(large.std, rel=0.05)
    assert small.first == pytest.approx(100 * large.first, rel=0.05)


def test_dropout_doubles_the_mean_square_at_each_place():
    plain, dropped = (variants.measure("relu", "Xavier", dropout=share) for share in (0, 0.5))
    assert dropped.std == pytest.approx(plain.std * 2 ** (9 / 2), rel=0.2)


def test_the_penalty_is_all_of_the_gradient_of_small_weights():
    row = variants.measure("relu", "0.01 N", penalty=1e-4)
    assert row.first == pytest.approx(2e-4 * 0.01 * ten_layers.UNITS, rel=0.01)
