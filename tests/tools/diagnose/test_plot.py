"""The plot of a report."""

import json
import re

import keras
import numpy as np
from keras import layers
from reported import X, report_of

import keras_initx


def test_outputs_that_are_not_finite_are_no_zeros_in_the_plot():
    first = layers.Dense(3, bias_initializer=keras.initializers.Constant(np.nan))
    deviations, histogram, *_ = report_of(keras.Sequential([keras.Input((8,)), first, layers.Dense(2)])).plot().axes
    assert np.isnan(deviations.lines[-1].get_ydata()).tolist() == [True, True]
    assert histogram.get_title().endswith("\nnot finite")


def test_zero_deviations_are_zero_in_the_plot(faulty):
    deviations = faulty.plot().axes[0]
    assert deviations.lines[1].get_ydata().tolist() == [0, 0]
    assert deviations.get_ylim()[0] < 0


def titles(figure):
    """Return the first lines of the titles of the histograms."""
    return [axis.get_title().partition("\n")[0] for axis in figure.axes if axis.get_title()]


def test_only_layers_with_a_problem_have_a_histogram(healthy, faulty):
    assert [axis.get_ylabel() for axis in healthy.plot().axes] == ["standard deviation", "gradient"]
    assert faulty.problems[0].layers == (faulty.rows[0].name,)
    assert [title.split()[0] for title in titles(faulty.plot())] == ["1"]


def test_of_many_layers_with_a_problem_twelve_have_a_histogram():
    hidden = [layers.Dense(8, "tanh", kernel_initializer="zeros") for _ in range(18)]
    shown = titles(report_of(keras.Sequential([keras.Input((8,)), *hidden])).plot())
    numbers = [int(title.split()[0]) for title in shown]
    assert len(numbers) == 12
    assert (numbers[0], numbers[-1]) == (1, 18)


def test_plotting_leaves_a_report_as_it_was(faulty):
    before = faulty.to_json()
    assert json.loads(before)["rows"][1]["after"]["zeros"] > 0.2
    faulty.plot()
    assert faulty.to_json() == before


def histogram(std, activation, **options):
    """Return the histogram of a layer that has a problem, whose kernel has this standard deviation."""
    layer = layers.Dense(64, activation, kernel_initializer=keras_initx.RandomNormal(0, std, 1), **options)
    *_, axis = (
        axis for axis in report_of(keras.Sequential([keras.Input((8,)), layer])).plot().axes if axis.get_title()
    )
    return axis


def test_a_histogram_shows_saturation_at_its_ends():
    heights, edges, _ = histogram(9.0, "tanh").patches[0].get_data()
    assert heights[[0, -1]].min() > 0.5 > 0.2 > heights[1:-1].max()
    np.testing.assert_allclose(edges[[0, -1]], [-1, 1], atol=0.01)


def test_zeros_are_a_bar_beside_the_histogram():
    axis = histogram(0.3, "relu", bias_initializer=keras.initializers.Constant(-2.5))
    (bar,) = axis.containers[0]
    heights, edges, _ = axis.patches[0].get_data()
    assert bar.get_height() > 0.75
    assert bar.get_x() + bar.get_width() <= edges[0] == 0
    assert heights[0] < 2  # the zeros are not in the first bin


def test_plot_shows_the_bounds_that_are_in_the_range_of_a_panel(tmp_path):
    keras.utils.set_random_seed(0)
    small = [layers.Dense(8, "tanh", kernel_initializer="initx.small_normal") for _ in range(4)]
    model = keras.Sequential([keras.Input((8,)), *small, layers.Dense(1)])
    keras_initx.diagnose(model, X, X[:, :1], loss="mse").plot(tmp_path / "plot.svg")
    shown = re.findall(r"<!-- ([a-z ]+: \d.*) -->", (tmp_path / "plot.svg").read_text())
    assert shown == ["vanishing: 0.001", "vanishing gradient: 0.0001 of the largest norm"]
