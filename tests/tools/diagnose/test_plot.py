"""The plots of a report, and of the reports of a training."""

import re

import keras
import numpy as np
import pytest
from keras import layers
from monitored import BATCH, Y, fit, network
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
    before = faulty.to_dict()
    assert before["layers"][1]["after"]["zeros"] > 0.2
    faulty.plot()
    assert faulty.to_dict() == before


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


@pytest.mark.rare
def test_plot_shows_the_bounds_that_are_in_the_range_of_a_panel(tmp_path):
    keras.utils.set_random_seed(0)
    small = [layers.Dense(8, "tanh", kernel_initializer="initx.small_normal") for _ in range(4)]
    model = keras.Sequential([keras.Input((8,)), *small, layers.Dense(1)])
    keras_initx.diagnose(model, X, X[:, :1], loss="mse").plot(tmp_path / "plot.svg")
    shown = re.findall(r"<!-- ([a-z ]+: \d.*) -->", (tmp_path / "plot.svg").read_text())
    assert shown == ["vanishing: 0.001", "vanishing gradient: 0.0001 of the largest norm"]


@pytest.fixture(
    scope="module", params=[(Y, 5), pytest.param((None, 3), marks=pytest.mark.rare)], ids=["gradients", "signals"]
)
def plotted(request, tmp_path_factory):
    """Return the figure of a monitor, its text as a file, and the number of its panels."""
    y, panels = request.param
    monitor = keras_initx.SignalMonitor(BATCH, y, every=3)
    fit(network(), monitor, epochs=1)
    path = tmp_path_factory.mktemp("plot") / "course.svg"
    return monitor.plot(path), path.read_text(), panels


def test_plot_has_a_panel_for_each_statistic(plotted):
    _, text, panels = plotted
    titles = ("standard dev", "mean of", "saturated -->", "gradient norm", "gradient over")
    assert sum(text.count(f"<!-- {title}") for title in titles) == panels
    # The layers are named in what is left of a grid of two columns.
    assert text.count('id="axes_') == panels + 1
    assert text.count('id="legend_') == 1


def test_the_range_of_all_layers_has_an_edge_that_shows_where_it_is_one_value(plotted):
    figure, _, _ = plotted
    (band,) = figure.axes[0].collections
    assert band.get_edgecolor()[0][0] < band.get_facecolor()[0][0]


def test_plot_shows_the_bounds_that_are_in_the_range_of_a_panel_in_its_unit(plotted):
    _, text, _ = plotted
    assert re.findall(r"<!-- ([a-z ]+: \S+) -->", text) == ["saturated: 25%"]


def test_logarithmic_axes_of_a_plot_cover_whole_decades(plotted):
    figure, _, panels = plotted
    limits = [axis.get_ylim() for axis in figure.axes if axis.get_yscale() == "log"]
    assert len(limits) == panels - 2
    assert np.allclose(np.log10(limits), np.round(np.log10(limits)))


def test_plot_has_no_points_of_outputs_that_are_not_finite():
    class Breaking(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.get_layer("hidden").kernel.assign(np.full((8, 6), np.nan))

    monitor = keras_initx.SignalMonitor(BATCH, Y, every=1)
    with pytest.warns(UserWarning, match="is not finite"):
        fit(network(), Breaking(), monitor)
    _, means, saturated, *_ = monitor.plot().axes
    for axis in (means, saturated):
        assert [np.isfinite(line.get_ydata()).tolist() for line in axis.lines[:1]] == [[True, False]]


def test_plot_shows_the_first_the_middle_and_the_last_layer_with_weights():
    hidden = [layers.Dense(4, "tanh", name=f"hidden_{number}") for number in range(1, 14)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Activation("tanh", name="end")])
    model.compile("sgd", "mse")
    monitor = keras_initx.SignalMonitor(BATCH, every=6)
    model.fit(BATCH, BATCH[:, :4], batch_size=8, verbose=0, callbacks=[monitor])
    deviations, *_ = monitor.plot().axes
    assert [line.get_label() for line in deviations.lines] == ["hidden_1", "hidden_7", "hidden_13"]
    sizes = [layer.signal.std for layer in monitor.history[0].rows]
    (band,) = deviations.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() <= min(sizes) < max(sizes) <= heights.max()
