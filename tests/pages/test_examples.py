"""What the pages of rules and reasons say, measured by their own scripts."""

import functools
import pathlib
import runpy
import sys
from itertools import pairwise

import numpy as np
import pytest
from modes import often
from scripts import script

ten_layers = script("ten_layers")
variance = script("variance")
assumptions = script("assumptions")
restarts = script("restarts")
digits = script("_digits")
figures = script("_figures")

# Weights are the same on every backend, as other tests show, so these numbers are too, to rounding.


# Before a release the other rows of the tables too: each is ten layers of 500 units.
OFTEN = ("0.01 N", "He")
DOCS = pathlib.Path(__file__).parents[2] / "docs"


def problems(report):
    return [verdict.problem for verdict in report.verdicts]


def gradients(report):
    return np.array([ten_layers.kernel_gradient(layer) for layer in report.rows])


@functools.cache
def measured(activation, name):
    return ten_layers.run(activation, ten_layers.INITIALIZERS[activation][name])


tanh, relu = (functools.partial(measured, activation) for activation in ("tanh", "relu"))


def test_a_script_that_cannot_be_imported_is_a_failure(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("import keras_initx.no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        script("broken")


def test_small_weights_let_a_signal_vanish_in_tanh():
    assert tanh("0.01 N").rows[-1].after.std < 1e-6
    assert problems(tanh("0.01 N")) == ["vanishing", "vanishing gradient"]


@pytest.mark.rare
def test_large_weights_saturate_tanh():
    assert all(layer.saturated > 0.9 for layer in tanh("1.0 N").rows)
    assert problems(tanh("1.0 N")) == ["saturated"]


@pytest.mark.parametrize("name", ["assumptions", "ten_layers_variants"])
def test_what_draws_nothing_needs_no_matplotlib(name, monkeypatch, capsys):
    for module in ("assumptions", "ten_layers", "_figures", *(name for name in sys.modules if "matplotlib" in name)):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(DOCS / "examples" / f"{name}.py")["main"](["--help"])
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.rare
@pytest.mark.parametrize("name", often(["Xavier", "He", "Glorot", "sparse", "orthogonal"], OFTEN))
def test_tanh_keeps_its_spread(name):
    assert all(layer.after.std > 0.2 and layer.saturated < 0.12 for layer in tanh(name).rows)
    assert tanh(name).ok


@pytest.mark.rare
def test_xavier_decays_in_relu():
    spread = [layer.after.std for layer in relu("Xavier").rows]
    assert spread[-1] < spread[0] / 20


@pytest.mark.parametrize("name", often(["He", "sparse", "orthogonal"], OFTEN))
def test_relu_keeps_its_spread(name):
    assert all(0.6 < layer.after.std < 1 for layer in relu(name).rows)
    assert relu(name).ok


@pytest.mark.parametrize("name", often(["sparse", "orthogonal"], OFTEN))
def test_the_gain_of_tanh_compensates_for_its_shrinking(name):
    assert tanh(name).rows[-1].after.std == pytest.approx(0.65, abs=0.01)


FAILURES = [
    ("0.01 N", ["vanishing", "vanishing gradient"]),
    pytest.param("1.0 N", ["exploding"], marks=pytest.mark.rare),
]


@pytest.mark.rare
@pytest.mark.parametrize(("name", "found"), FAILURES)
def test_fixed_sizes_fail_in_relu(name, found):
    assert problems(relu(name)) == found


def test_gradients_of_small_weights_are_equally_small():
    np.testing.assert_allclose(gradients(tanh("0.01 N")), 8.4e-8, rtol=0.05)


def test_small_weights_shrink_signals_forward_and_gradients_backward_alike():
    layers = tanh("0.01 N").rows
    signals = np.array([layer.after.std for layer in layers])
    sums = np.array([layer.weights[1].gradient for layer in layers])  # a bias has the gradient of the sums
    factor = 0.01 * ten_layers.UNITS**0.5
    np.testing.assert_allclose(signals[1:] / signals[:-1], factor, rtol=0.02)
    np.testing.assert_allclose(sums[:-1] / sums[1:], factor, rtol=0.1)


@pytest.mark.rare
def test_gradients_of_large_weights_grow_towards_the_inputs():
    found = gradients(tanh("1.0 N"))
    assert all(3 < below / above < 4 for below, above in pairwise(found))


@pytest.mark.rare
@pytest.mark.parametrize("name", ["Xavier", "He"])
def test_gradients_are_level_with_scaled_weights(name):
    found = gradients(tanh(name))
    assert found.max() < 1.5 * found.min()


@pytest.mark.parametrize("name", often(["0.01 N", "1.0 N", "Xavier", "He"], ["He"]))
def test_gradients_are_level_in_relu(name):
    found = gradients(relu(name))[1:]
    assert found.max() < 2 * found.min()


@pytest.mark.parametrize("rule", often(variance.RULES["linear"], ["Glorot"]))
def test_the_variance_of_linear_layers_is_predicted(rule):
    variances, initializer = variance.RULES["linear"][rule]
    expected, found = variance.predict("linear", variances), variance.measure("linear", initializer)
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_the_variance_of_relu_layers_is_predicted():
    variances, initializer = variance.RULES["relu"]["He"]
    expected, found = variance.predict("relu", variances), variance.measure("relu", initializer)
    np.testing.assert_allclose(found, expected, rtol=0.25)


def test_glorots_rule_is_off_by_one_factor_on_both_sides():
    variances, _ = variance.RULES["linear"]["Glorot"]
    sums, gradients_of_sums = variance.predict("linear", variances)
    assert (sums[-1], 1 / gradients_of_sums[0]) == pytest.approx((1.7, 1.7), abs=0.05)


@pytest.mark.rare
def test_restarts_help_a_narrow_network_and_a_wide_one_needs_none():
    narrow, wide = ((restarts.train(units, 1.0, (1000,)) == 1).mean() for units in (2, 16))
    assert narrow == pytest.approx(0.815, abs=0.05)
    assert wide == 1


def test_tanh_shrinks_and_relu_makes_examples_alike(monkeypatch):
    monkeypatch.setattr(assumptions, "DEPTHS", (10,))
    assert assumptions.tanh_spread()[-1] == pytest.approx(20**-0.5, rel=0.05)
    predicted, measured = assumptions.relu_cosines()
    assert measured[-1] == pytest.approx(predicted[-1], abs=0.05)


@pytest.mark.parametrize("row", often(assumptions.DEEP, assumptions.DEEP[::3]), ids=lambda row: f"{row[0]}, {row[1]}")
def test_a_gain_does_not_hold_gelu_and_silu(row, monkeypatch):
    monkeypatch.setattr(assumptions, "DEEP_AFTER", (20,))
    activation, name, *weights = row
    first, *_, last = assumptions.deep_sizes(activation, *weights)
    grows = activation in ("gelu", "silu") and name.startswith("Orthogonal")
    shrinks = activation in ("gelu", "silu") and name == "he_normal"
    assert (last > 3 * first, last < first / 10) == (grows, shrinks)


def test_draws_differ_by_depth_over_width():
    assert np.log(assumptions.relu_mean_squares(50)).var() == pytest.approx(5 * 50 / 50, rel=0.2)


@pytest.mark.rare
def test_some_draws_of_a_narrow_deep_network_are_dead():
    assert (assumptions.relu_mean_squares(10) == 0).sum() == 5


@pytest.mark.rare
def test_ten_layers_prints_tables_and_writes_figures(tmp_path, monkeypatch, capsys):
    # The tables and figures of two initializers, because those of all take long to draw.
    two = {name: ten_layers.COMPARED[name] for name in ("0.01 N", "He")}
    monkeypatch.setattr(ten_layers, "COMPARED", two)
    monkeypatch.setattr(ten_layers, "measure", lambda activation: {name: measured(activation, name) for name in two})
    ten_layers.main(["--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ten_layers_gradients.png",
        "ten_layers_relu.png",
        "ten_layers_tanh.png",
    ]
    assert "0.01 N      vanishing from layer_5 on" in capsys.readouterr().out


@pytest.mark.rare
def test_weights_that_are_all_positive_fail(capsys):
    assumptions.print_positive()
    output = capsys.readouterr().out
    assert "tanh: saturated\n" in output  # which explains that there are no gradients
    assert "relu: exploding\n" in output


@pytest.fixture
def few_digits(monkeypatch):
    """Let scripts train on an eighth of the images."""
    pairs = [(images[::8], labels[::8]) for images, labels in digits.load()]
    monkeypatch.setattr(digits, "load", lambda: pairs)


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize(
    ("name", "options", "found"),
    [
        pytest.param("variance", [], "Largest difference in any layer: 20.4%", marks=pytest.mark.rare),
        ("restarts", ["--steps", "10"], "best of 10"),
        ("lsuv", ["--seeds", "1", "--networks", "tanh"], "Test loss after one epoch, mean of 1 seeds"),
        pytest.param(
            "new_words",
            ["--repeats", "1", "--steps", "2", "--examples", "640"],
            "rise of the loss from means: 0.223",
            marks=pytest.mark.rare,
        ),
    ],
)
def test_scripts_print_a_table(name, options, found, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)  # where one keeps records
    script(name).main(options)
    assert found in capsys.readouterr().out


@pytest.mark.usefixtures("few_digits")
@pytest.mark.rare
@pytest.mark.parametrize("name", ["symmetry", "relu_bias"])
def test_scripts_write_a_figure(name, tmp_path, capsys):
    options = ["--repeats", "1"] if name == "relu_bias" else []
    script(name).main(["--out", str(tmp_path), "--epochs", "1", *options])
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    assert f"Figure: {name}.png" in capsys.readouterr().out


def test_equal_weights_stay_in_their_valley_and_different_ones_leave_it(tmp_path, capsys):
    script("valley").main(["--out", str(tmp_path)])
    equal, different = (line.split() for line in capsys.readouterr().out.splitlines()[1:3])
    assert equal[2] == equal[3]
    assert float(equal[1]) > 50 * float(different[1])
    assert [path.name for path in tmp_path.iterdir()] == ["valley.png"]
