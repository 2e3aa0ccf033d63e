"""Learning rates over widths: best rates, how they move, and what that costs."""

import math

import keras
import numpy as np
import pytest

from keras_initx import compare_learning_rates
from keras_initx.scaling import RateFactors
from keras_initx.types import RateStudy

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
DATA = (X, X[:, :1]), (X[:32], X[:32, :1])
RATES = [2.0**power for power in range(-6, 1)]


def linear(width, rate):
    """Return a model whose outputs are the sum of `width` units, so that its best rate is that of 1 / width."""
    ones = keras.layers.Dense(width, use_bias=False, kernel_initializer="glorot_uniform", name="units")
    total = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", trainable=False, name="total")
    model = keras.Sequential([keras.Input((4,)), ones, total])
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def divided(width, rate):
    return linear(width, rate / width)


def made_up(best_powers, *, builds=("",), repeats=2):
    """Return a study whose loss is a parabola around a power of two for each width."""
    settings = {
        **{"epochs": 1, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none", "repeats": repeats},
        **{"builds": list(builds), "widths": list(best_powers), "rates": RATES},
    }
    trials = {}
    for build in builds:
        for width, power in best_powers.items():
            for rate in RATES:
                for repeat in range(1, repeats + 1):
                    loss = 1 + (math.log2(rate) - power - 0.1 * repeat) ** 2
                    epochs = {"epoch": 0, "val_loss": 9.0}, {"epoch": 1, "val_loss": loss, "seconds": 0.1}
                    trials[build, width, rate, repeat] = {"status": "finished", "epochs": epochs}
    return RateStudy("made up", settings, trials, "val_loss", "min")


def test_the_best_rate_is_where_a_parabola_is_least():
    study = made_up({8: -3, 32: -4.75})
    narrow, wide = study.statistics()
    assert narrow["best_rate"] == pytest.approx(2**-2.85)
    assert wide["best_rate"] == pytest.approx(2**-4.6)
    assert narrow["ci_low"] < narrow["best_rate"] < narrow["ci_high"]
    assert study.best_rate("", 8) == 2**-3
    assert study.best_rate("", 32) == 2**-5
    assert not wide["at_edge"]


def test_the_drift_is_paired_by_repeat():
    (drift,) = made_up({8: -3, 32: -4.75}).drifts()
    assert drift["drift"] == pytest.approx(-1.75)
    assert drift["ci_low"] == pytest.approx(-1.75)  # the repeats differ alike at both widths
    assert "moves by -1.6 powers of two" in made_up({8: -3, 32: -4.6}).remarks()[0]


def test_the_rate_of_the_narrow_model_costs_its_distance_from_the_best():
    study = made_up({8: -3, 32: -5})
    narrow, wide = study.statistics()
    assert narrow["loss"] == 0
    assert wide["transferred"] - wide["best"] == pytest.approx(wide["loss"])
    assert wide["loss"] == pytest.approx(((2 - 0.1) ** 2 + (2 - 0.2) ** 2) / 2 - (0.1**2 + 0.2**2) / 2)


def test_a_best_rate_at_the_end_of_those_tried_is_marked():
    study = made_up({8: -9, 16: -3, 32: 9})
    assert [row["at_edge"] for row in study.statistics()] == [True, False, True]
    assert "2^-6.0*" in str(study)


def test_trials_that_diverged_or_failed_are_no_best_ones():
    study = made_up({8: -3, 32: -3})
    for repeat in (1, 2):
        study.trials["", 32, 2.0**-3, repeat] = {"status": "diverged", "epochs": []}
    assert study.best_rate("", 32) == 2**-2
    failed = made_up({8: -3, 32: -3})
    failed.trials["", 8, 2.0**-3, 1] = {"status": "failed", "error": "OSError: no room left"}
    assert failed.best_rate("", 8) == 2**-2
    assert "1 of 28 trials failed: OSError: no room left." in str(failed)


@pytest.mark.parametrize(("mode", "worst"), [("min", math.inf), ("max", -math.inf)])
def test_a_trial_that_diverged_has_the_worst_value_of_all(mode, worst):
    study = made_up({8: -3})
    study.trials["", 8, RATES[0], 1] = {"status": "diverged", "epochs": ()}
    values = RateStudy("made up", study.settings, study.trials, "val_loss", mode).final_values("", 8)
    assert values[0, 0] == worst
    assert np.isfinite(values[1:]).all()


@pytest.mark.rare
def test_a_rate_transfers_if_it_is_divided_by_the_width(tmp_path):
    builds = {"one rate": linear, "divided": divided}
    study = compare_learning_rates(builds, [4, 32], RATES, DATA, repeats=1, epochs=1, out=tmp_path, title="sums")
    alone, scaled = study.drifts()
    assert alone["drift"] < -1.5
    assert abs(scaled["drift"]) < 1
    (advice,) = [remark for remark in study.remarks() if "coordinate_check" in remark]
    assert advice.startswith("one rate: ")
    # Found again, without training, and beside other rates.
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = compare_learning_rates(builds, [4, 32], RATES[1:], DATA, repeats=1, epochs=1, out=tmp_path)
    assert again.rows == [record for record in study.rows if record["rate"] != RATES[0]]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_trials_that_fail_are_told_with_the_reason():
    def failing(width, rate):
        if width == 4:
            raise RuntimeError("no such width")
        return linear(width, rate)

    study = compare_learning_rates(failing, [2, 4], RATES[:2], DATA, repeats=1, epochs=1)
    assert study.remarks()[0] == "2 of 4 trials failed: RuntimeError: no such width."


def in_float16(width, optimizer):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = linear(width, 1.0)
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(optimizer, "mse")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    return model


@pytest.mark.rare
def test_factors_on_rates_are_compared_in_float16_too():
    builds = {
        "divided": lambda width, rate: in_float16(width, keras.optimizers.Adam(rate / width)),
        "factors": lambda width, rate: in_float16(
            width, RateFactors(keras.optimizers.Adam(rate), {"units/kernel": 1 / width})
        ),
    }
    study = compare_learning_rates(builds, [2, 8], [0.01, 0.1], DATA, repeats=1, epochs=3)
    losses = {build: [] for build in builds}
    for record in study.rows:
        losses[record["build"]].append(record["val_loss"])
    np.testing.assert_allclose(losses["factors"], losses["divided"], rtol=1e-3)


def test_the_plot_has_a_panel_for_each_build_and_a_line_for_each_width():
    pytest.importorskip("matplotlib")
    study = made_up({8: -3, 32: -4}, builds=("standard", "muP"))
    axes = study.plot().axes
    assert [axis.get_title() for axis in axes] == ["standard", "muP"]
    labels = [line.get_label() for line in axes[0].lines if not line.get_label().startswith("_")]
    assert labels == ["8", "32"]
    losses = [float(label.get_text()) for label in axes[0].get_yticklabels()]  # in decimal numbers
    np.testing.assert_allclose(losses, axes[0].get_yticks())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"widths": [8]}, ValueError, r"`widths` must be at least two numbers, all different. Received: widths=\[8\]"),
        ({"learning_rates": [0.1, 0.1]}, ValueError, "`learning_rates` must be at least two numbers, all different"),
        ({"learning_rates": [0.1, -1]}, ValueError, "`learning_rates` must be a positive number"),
        ({"widths": [8, 1.5]}, TypeError, "`widths` must be a positive integer"),
        ({"build": {}}, ValueError, "`build` must not be empty"),
        ({"build": {"a": 3}}, TypeError, "such as `lambda width, rate: network.width, rate.`. Received: build=3"),
        ({"build": lambda width: None}, TypeError, "which takes other arguments: too many positional arguments"),
        ({"build": {1: linear}}, TypeError, "`build` must be a dict from names"),
        ({"monitor": "val_auc"}, ValueError, "`monitor` must be one of"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        compare_learning_rates(
            **{"build": linear, "widths": [2, 4], "learning_rates": RATES, "data": DATA, "epochs": 1, **options}
        )
