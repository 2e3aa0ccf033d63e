"""What all figures have in common."""

import math

import pytest
from results import ticks

from keras_initx.report._figures import as_png
from keras_initx.report._order import Points, plot_in_order


def test_zeros_have_a_mark_of_their_own_on_a_logarithmic_axis():
    least = 0.3
    points = Points({0: 0.0, 1: least, 2: 2.0}, "black")
    axis = plot_in_order(["a", "b", "c"], {"": {"": points}}, of="weight").axes[0]
    assert ticks(axis) == ["0", "0.1", "1", "10"]
    # They are as far from the least other value as a decade of its own or more would be.
    zero, other = axis.transData.transform([(0, 0), (0, least)])[:, 1]
    assert other - zero > 0.05 * axis.bbox.height


@pytest.mark.rare
def test_names_with_dollars_are_no_formulas():
    figure = plot_in_order(["layer$y^{-$"], {"": {}}, of="weight")
    assert as_png(figure)  # which raises an error where a formula is wrong
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["layer$y^{-$"]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.9, 1.3], ["0.5", "0.7", "1", "1.4", "2"]),
        ([0.9, 30], ["0.5", "1", "2", "4", "8", "16", "32"]),
        ([1e-4, 2], ["0.0001", "0.001", "0.01", "0.1", "1", "10"]),
        ([0, 0.9], ["0", "0.5", "0.7", "1", "1.4", "2"]),
        ([math.nan], ["0.5", "0.7", "1", "1.4", "2"]),
    ],
)
def test_an_axis_of_ratios_has_one_inside(values, shown):
    points = Points(dict(enumerate(values)), "red")
    (axis,) = plot_in_order(["a", "b"], {"": {"": points}}, of="weight", are_ratios=True).axes
    assert ticks(axis) == shown
    low, high = axis.get_ylim()
    assert low < 1 < high
