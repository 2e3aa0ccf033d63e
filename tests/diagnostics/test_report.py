"""A report as text, as data and as a picture."""

import csv
import io
import json
import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx.diagnostics import _report
from keras_initx.diagnostics._signal import Signal
from keras_initx.rendering import _text

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


def report_of(model, y=None):
    return keras_initx.diagnose(model, X, y, loss="mse")


@pytest.fixture(scope="module")
def healthy():
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(6, name, name=name) for name in ("tanh", "relu")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Reshape((3, 2)), layers.LSTM(3, name="lstm")])
    return report_of(model, np.ones((64, 3), "float32"))


@pytest.fixture(scope="module")
def faulty():
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(6, "relu", kernel_initializer="zeros", name="a_layer_with_a_name_of_some_length_" * 3)
    return report_of(keras.Sequential([keras.Input((8,)), hidden, layers.Dense(3, name="out")]))


def test_text_of_a_healthy_network(healthy):
    text = str(healthy)
    assert text.endswith("\n\nNo problem found.")
    header, _, *rows = text.splitlines()
    assert header.split()[:3] == ["layer", "activation", "before"]
    assert [row.split()[0] for row in rows[:3]] == ["tanh", "relu", "lstm"]
    assert repr(healthy) == "<Report of 3 layers: no problem found>"


def test_a_layer_is_shown_in_a_line(healthy):
    assert repr(healthy.layers[0]).startswith("<LayerReport of tanh, Dense: output <Signal of 384 values: mean ")
    assert "\n" not in repr(healthy.layers)


class Attention(layers.Layer):
    """Attention of a user: layers in a layer, all with automatic names."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = layers.Dense(4), layers.Dense(4), layers.Dense(4)
        self.positive = layers.ReLU()

    def call(self, x):
        scores = keras.ops.matmul(self.query(x), keras.ops.transpose(self.key(x), (0, 2, 1)))
        return keras.ops.matmul(keras.ops.softmax(scores / 2), self.positive(self.value(x)))


def attention(**last):
    """Return a model of two layers of attention, a report of it, and the plan of its weights."""
    model = keras.Sequential([keras.Input((5, 4)), Attention(), Attention(), layers.Dense(2, **last)])
    plan = keras_initx.initialize(model, seed=0)
    return model, keras_initx.diagnose(model, np.random.default_rng(0).normal(size=(16, 5, 4))), plan


def test_layers_have_the_paths_of_the_plan_in_each_build():
    (_, first, plan), (_, again, _) = attention(), attention()
    paths = [f"attention{i}/{name}" for i in ("", "_1") for name in ("dense", "dense_1", "dense_2", "re_lu")]
    assert [layer.path for layer in first.layers] == [layer.path for layer in again.layers] == [*paths, "dense"]
    with_weights = [layer.path for layer in first.layers if layer.weights]
    assert list(dict.fromkeys(weight.path.rpartition("/")[0] for weight in plan.weights)) == with_weights
    table, others = (str(report).replace("-", "") for report in (first, again))
    table, others = (re.sub(r" \(\S+\)", "", text) for text in (table, others))
    assert re.sub(" +", " ", table) == re.sub(" +", " ", others)


def test_names_of_keras_stand_in_parentheses_where_a_path_ends_otherwise(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    layers.Dense(1)  # takes the name `dense`
    model, report, _ = attention()
    name = model.layers[-1].name
    row = str(report).splitlines()[-3]
    assert row.startswith(f"  dense ({name})  ")
    assert f"dense ({name})" in report._repr_html_().replace("<wbr>", "")
    data = report.to_dict()["layers"][-1]
    assert (data["name"], data["path"]) == (name, "dense")
    assert report.layers[2].title.startswith("attention/dense_2 (dense_")
    assert attention(name="last")[1].layers[-1].title == "last"


def test_a_narrow_table_keeps_the_paths():
    model = keras.Sequential([keras.Input((8,))])
    for number in range(2):
        model.add(layers.Dense(4, "relu", name=f"a_layer_with_a_long_name_{number}"))
        model.add(layers.BatchNormalization())
    layers.BatchNormalization()
    again = keras.models.clone_model(model, clone_function=lambda layer: type(layer).from_config(layer.get_config()))
    assert "\n  batch_normalization  " in str(report_of(again))


def test_verdicts_name_layers_as_the_model_does():
    layers.Dense(1)
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, kernel_initializer="zeros"), layers.Dense(3)])
    (problem,) = report_of(model).problems
    (name,) = problem.layers
    assert model.get_layer(name) is model.layers[0]


def test_a_model_with_weights_of_its_own_has_its_name():
    class Shifted(keras.Model):
        def build(self, shape):
            self.shift = self.add_weight(shape=(8,), initializer="ones", name="shift")

        def call(self, x):
            return x + self.shift

    model = Shifted(name="shifted")
    (layer,) = report_of(model).layers
    assert (layer.name, layer.path, layer.title) == ("shifted", "shifted", "shifted")


def test_text_of_a_faulty_network(faulty):
    text = str(faulty)
    assert "\n! …with_a_name_of_some_length_  " in text
    assert "activation" in text.splitlines()[0]
    assert max(map(len, text.splitlines())) <= 80
    assert "\n1 problem found.\n\nequal units (error): " in text
    assert "\nRemedy: " in text
    assert repr(faulty) == "<Report of 2 layers: 1 problem found>"


def test_a_problem_prints_as_in_the_report(faulty):
    (problem,) = faulty.problems
    assert str(faulty).endswith(f"\n\n{problem}")
    assert str(problem).startswith("equal units (error): ")


@pytest.mark.parametrize("width", [50, 200])
def test_text_fits_a_terminal(healthy, faulty, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for report in (healthy, faulty):
        assert max(map(len, str(report).splitlines())) <= min(width, 120)


def test_names_are_shortened_where_they_do_not_differ():
    blocks = [f"transformer_layer_{k}_self_attention" for k in range(2)]
    names = [f"{block}/{part}" for block in blocks for part in ("query", "attention_output")]
    assert _text.shortened(names, 24) == [
        "…0_self_attention/query",
        "…0_…attention_output",
        "…1_self_attention/query",
        "…1_…attention_output",
    ]


def test_shortened_names_stay_different():
    names = ["first_attention_layer_norm", "second_attention_layer_norm", "other_norm"]
    assert len(set(_text.shortened(names, 8))) == 3
    assert _text.shortened(["a_very_long_name"] * 2, 8) == ["…name"] * 2


def test_a_wide_terminal_shows_everything(healthy, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    header = str(healthy).splitlines()[0]
    assert header.split() == [
        *("layer", "activation", "before", "mean", "std", "zeros", "sat.", "dead", "gain"),
        *("gate", "bias", "gradient", "ratio"),
    ]
    assert "forget 1" in str(healthy)


def test_columns_without_anything_are_left_out(faulty, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    header = str(faulty).splitlines()[0]
    assert "dead" in header
    assert "sat." not in header
    assert "gradient" not in header


@pytest.mark.parametrize(("share", "text"), [(0.0, "0%"), (0.001, "<1%"), (0.999, ">99%"), (1.0, "100%")])
def test_shares_say_none_and_all_only_where_it_is_so(share, text):
    assert _report._share(share) == text


@pytest.mark.parametrize(("number", "text"), [(0.000123, "0.00012"), (1.23e-5, "1.2e-5"), (-4e10, "-4e10"), (0, "0")])
def test_numbers_are_short(number, text):
    assert _text.short_number(number) == text


def test_a_notebook_shows_a_table(faulty):
    page = faulty._repr_html_()
    assert page.count("<tr>") == 3
    assert "<b>1 problem found.</b>" in page
    assert "<b>equal units (error)</b>" in page


def drawn_in_text(stddev, depth):
    """Return the histograms of layers with tanh whose weights have this standard deviation, and their range."""
    hidden = [
        layers.Dense(100, "tanh", kernel_initializer=keras_initx.RandomNormal(stddev=stddev, seed=seed))
        for seed in range(depth)
    ]
    x = np.random.default_rng(0).normal(size=(64, 100)).astype("float32")
    page = keras_initx.diagnose(keras.Sequential([keras.Input((100,)), *hidden]), x)._repr_html_()
    return re.findall("[▁▂▃▄▅▆▇█]{11}", page), re.search("histogram,<br>(.*?)</th>", page)[1]


def test_a_notebook_shows_what_saturates_as_a_histogram():
    assert drawn_in_text(1.0, 1) == (["█▁▁▁▁▁▁▁▁▁█"], "-1.1 to 1.1")


def test_histograms_of_a_table_share_one_axis():
    shown, limits = drawn_in_text(0.02, 3)
    assert shown == ["▁▁▁▃▇█▇▄▁▁▁", "▁▁▁▁▁█▁▁▁▁▁", "▁▁▁▁▁█▁▁▁▁▁"]
    assert limits == "-0.77 to 0.75"


def test_a_histogram_has_what_lies_beyond_its_axis_in_its_ends():
    signal = Signal()
    signal.add(np.array([-9, -0.5, 0.5, 0.6, 9]))
    assert _report._histogram(signal, -1.1, 1.1)[0] == _report._histogram(signal, -1.1, 1.1)[-1] == "█"


def test_outputs_that_are_not_finite_are_no_zeros_in_the_plot():
    figure = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), layers.Dense(3)]), X * np.nan).plot()
    deviations, means, histogram = figure.axes[:3]
    assert np.isnan(deviations.lines[0].get_ydata()).all()
    assert np.isnan(means.lines[1].get_ydata()).all()
    assert histogram.get_title().endswith("\nnot finite")


def test_zero_deviations_are_zero_in_the_plot(faulty):
    deviations = faulty.plot().axes[0]
    assert deviations.lines[1].get_ydata().tolist() == [0, 0]
    assert deviations.get_ylim()[0] < 0


def test_a_notebook_has_no_list_without_verdicts():
    page = report_of(keras.Sequential([keras.Input((8,)), layers.Dense(3)]))._repr_html_()
    assert "<b>No problem found.</b>" in page
    assert "<ul>" not in page


def test_names_are_escaped_in_a_notebook():
    report = report_of(keras.Sequential([keras.Input((8,)), layers.Dense(3, name="<b>&")]))
    assert "&lt;b&gt;&amp;" in report._repr_html_()


def test_json_has_everything(healthy):
    data = json.loads(healthy.to_json())
    assert data == healthy.to_dict()
    assert data["ok"] is True
    tanh, _, lstm = data["layers"]
    assert (tanh["name"], tanh["activation"], tanh["shape"]) == ("tanh", "tanh", [64, 6])
    assert sum(tanh["after"]["histogram"]["counts"]) == tanh["after"]["size"] == 64 * 6
    assert len(tanh["after"]["histogram"]["edges"]) == len(tanh["after"]["histogram"]["counts"]) + 1
    assert tanh["weights"][0]["fan_in"] == 8
    assert tanh["gradient"]["norm"] > 0
    assert lstm["gate bias"] == "forget 1"


def test_json_has_no_number_for_what_is_not_finite_and_csv_says_what_it_is():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(3)])
    report = keras_initx.diagnose(model, X * np.nan, np.ones((64, 3)), loss="mse")
    assert json.loads(report.to_json())["layers"][0]["gradient"]["norm"] is None
    (row,) = csv.DictReader(io.StringIO(report.to_csv()))
    assert row["gradient_norm"] == "nan"


def test_csv_has_a_row_for_each_layer(healthy):
    rows = list(csv.DictReader(io.StringIO(healthy.to_csv())))
    assert [row["name"] for row in rows] == ["tanh", "relu", "lstm"]
    assert rows[0]["shape"] == "64x6"
    assert float(rows[0]["after_std"]) == healthy.layers[0].after.std
    assert rows[2]["before_mean"] == ""
    assert rows[2]["gate bias"] == "forget 1"


def test_csv_has_all_that_json_has_but_histograms_and_weights(healthy):
    (row, *_), layers_in_json = csv.DictReader(io.StringIO(healthy.to_csv())), healthy.to_dict()["layers"]
    for layer in layers_in_json:
        for name in layer.keys() - {"weights"}:
            parts = layer[name] if isinstance(layer[name], dict) else {}
            columns = {f"{name}_{part}" for part in parts.keys() - {"histogram"}} or {name}
            assert columns <= row.keys() or layer[name] is None


def test_plot_has_panels_and_a_histogram_of_each_layer(healthy, faulty):
    cells = 6
    assert len(healthy.plot().axes) == 3 + cells
    assert len(faulty.plot().axes) == 2 + cells


def test_of_many_layers_those_with_problems_have_a_histogram():
    hidden = [layers.Dense(8, "tanh", kernel_initializer="orthogonal") for _ in range(18)]
    hidden[3].kernel_initializer = "zeros"
    figure = report_of(keras.Sequential([keras.Input((8,)), *hidden])).plot()
    titles = [axis.get_title().partition(" ")[0] for axis in figure.axes[2:]]
    assert titles[0] == "4"
    assert 6 <= len(titles) <= 12


def test_plotting_leaves_a_report_as_it_was(healthy):
    before = healthy.to_dict()
    assert before["layers"][1]["after"]["zeros"] > 0.2
    healthy.plot()
    assert healthy.to_dict() == before


def histograms(kernels, activation="tanh"):
    """Return the axes of the histograms of layers whose kernels have these standard deviations."""
    hidden = [layers.Dense(64, activation, kernel_initializer=keras_initx.RandomNormal(0, std, 1)) for std in kernels]
    model = keras.Sequential([keras.Input((8,)), *hidden])
    return report_of(model).plot().axes[2 : 2 + len(kernels)]


def width(axis):
    """Return the width of a histogram as a share of its axis."""
    scale, edges = axis.xaxis.get_transform(), axis.patches[0].get_data().edges
    return np.ptp(scale.transform(edges[[0, -1]])) / np.ptp(scale.transform(axis.get_xlim()))


def test_histograms_of_all_layers_have_one_axis():
    axes = histograms([0.3, 0.01, 0.01])
    assert len({axis.get_xlim() for axis in axes}) == 1
    assert width(axes[0]) > 0.5 > 0.25 > width(axes[1]) > 5 * width(axes[2])


def test_a_layer_with_large_outputs_does_not_narrow_the_histograms_of_others():
    axes = histograms([0.3, 1e6], "linear")
    assert len({axis.get_xlim() for axis in axes}) == 1
    assert 0.3 < width(axes[0]) < 0.6 < width(axes[1]) < 1.2


def means(kernels, activation="linear"):
    """Return the panel of the means of layers, and the means."""
    hidden = [layers.Dense(64, activation, kernel_initializer=keras_initx.RandomNormal(0, std, 1)) for std in kernels]
    report = report_of(keras.Sequential([keras.Input((8,)), *hidden]))
    return report.plot().axes[1], [layer.after.mean for layer in report.layers]


@pytest.mark.parametrize(("std", "says"), [(0.3, False), (1e6, True)])
def test_axes_say_where_they_are_logarithmic(std, says):
    label = means([0.3, std], "relu")[0].get_ylabel()
    title = histograms([0.3, std], "relu")[0].figure.get_suptitle()
    assert ["logarithmic beyond 4" in text for text in (label, title)] == [says, says]


def test_a_layer_with_a_large_mean_keeps_the_means_of_others_readable():
    axis, found = means([0.3, 1e3, 1e-3], "relu")
    low, first, second, _ = axis.yaxis.get_transform().transform(np.array([axis.get_ylim()[0], *found]))
    assert second < -low
    assert first > 0.04 * second


@pytest.mark.parametrize("kernels", [[0.3, 1e-3, 1e-3], [500.0, 0.1, 0.1]])
def test_axes_are_linear_where_no_layer_is_far_larger_than_a_healthy_one_or_all_are(kernels):
    assert {axis.get_xscale() for axis in histograms(kernels, "linear")} == {"linear"}
    assert means(kernels)[0].get_yscale() == "linear"


def test_zeros_are_a_bar_beside_the_histogram():
    (axis,) = histograms([0.3], "relu")
    (bar,) = axis.containers[0]
    values, edges, _ = axis.patches[0].get_data()
    assert bar.get_height() == pytest.approx(0.5, abs=0.1)
    assert values[0] == pytest.approx(1, abs=0.4)  # the zeros are not in the first bin
    assert edges[0] == 0


def test_plot_shows_the_bounds_that_are_in_the_range_of_a_panel(tmp_path):
    keras.utils.set_random_seed(0)
    small = [layers.Dense(8, "tanh", kernel_initializer="initx.small_normal") for _ in range(4)]
    model = keras.Sequential([keras.Input((8,)), *small, layers.Dense(1)])
    keras_initx.diagnose(model, X, X[:, :1], loss="mse").plot(tmp_path / "plot.svg")
    shown = re.findall(r"<!-- ([a-z ]+: \d.*) -->", (tmp_path / "plot.svg").read_text())
    assert shown == ["vanishing: 0.001", "vanishing gradient: 0.0001 of the largest norm"]


def test_a_model_without_weights_has_an_empty_report():
    report = report_of(keras.Sequential([keras.Input((8,)), layers.Flatten()]))
    assert report.layers == []
    assert str(report).endswith("No problem found.")
    assert report.to_dict()["layers"] == []
    assert report.to_csv() == "\n"
    assert report.plot().axes
