"""A result of each kind."""

import csv
import io
import itertools
import math

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx import scaling
from keras_initx.types import RestartStudy, Study

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
SETTINGS = {"epochs": 1, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}


def network(width=8):
    hidden = [layers.Dense(width, "relu", name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(3, name="last")])
    model.compile("sgd", "mse")
    return model


def epochs(*values):
    """Return the records of the epochs of a trial, one of which has no number for its loss."""
    before, *after = values
    trained = [{"epoch": i, "loss": math.nan, "val_loss": value, "seconds": 0.5} for i, value in enumerate(after, 1)]
    return [{"epoch": 0, "val_loss": before}, *trained]


def study():
    trials = {}
    for (place, name), repeat in itertools.product(enumerate(["he_normal", "zeros"]), (1, 2)):
        trials[name, repeat] = {"status": "finished", "epochs": epochs(1.0, 0.5 + place + 0.01 * repeat)}
    settings = {**SETTINGS, "initializers": {"he_normal": None, "zeros": None}, "repeats": 2}
    return Study("made up", settings, trials, "val_loss", "min", 0.6)


def restart_study():
    draws = []
    for number, value in ((2, 0.25), (1, 0.5)):
        draws.append({"draw": number, "seed": 7 * number, "status": "finished", "epochs": epochs(1.0, value)})
    return RestartStudy("made up", {**SETTINGS, "n": 2}, draws, [(0.3, 0.4), (0.2, 0.4)], "val_loss", "min", None)


def loaded():
    return keras_initx.load_pretrained(network(), {"first/kernel": np.ones((6, 8))}, layout="keras")


def saved():
    like = {"first/kernel": np.ones((6, 8))}
    names = {"first/kernel": "first/kernel", "*": None}
    return keras_initx.save_pretrained(network(), "a.safetensors", names, like=like, layout="keras", dry_run=True)


def loaded_in_part():
    model = network()
    with keras_initx.loading(model, seed=0) as found:
        model.layers[0].set_weights([np.ones((6, 8)), np.ones(8)])
    return found


def first_step():
    there = network()
    there.compile("sgd", keras.losses.MeanSquaredError(reduction="sum"))
    recorded = keras_initx.record_outputs(there, X, X[:, :3])
    model = network()
    model.set_weights(there.get_weights())
    return keras_initx.compare_outputs(model, X, recorded, y=X[:, :3]).step


def lsuv():
    return keras_initx.lsuv(network(), X, seed=0)


def port():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    hidden = layers.Dense(8, "relu", name="hidden")
    model = keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3, name="last")], name="net")
    names = {"hidden": "0", "last": "2"}
    report = keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    return keras_initx.port_report(model, module, X, loaded=report)


# What a public function returns, by its name.
EXAMPLES = {
    "diagnose": lambda: keras_initx.diagnose(network(), X, X[:, :3]),
    "compare_initializers": study,
    "random_restarts": restart_study,
    "initialize": lambda: keras_initx.initialize(network(), seed=0),
    "initialize, dry run": lambda: keras_initx.initialize(network(), {"first/*": None}, seed=0, dry_run=True),
    "load_pretrained": loaded,
    "save_pretrained": saved,
    "loading": loaded_in_part,
    "lsuv": lsuv,
    "mup": lambda: scaling.mup(network(32), network(8)),
    "audit": lambda: keras_initx.audit(network(), {"first/kernel": "ones"}),
    "contract": lambda: keras_initx.contract(network()),
    "record_outputs": lambda: keras_initx.record_outputs(network(), X),
    "compare_outputs": lambda: keras_initx.compare_outputs(network(), X, network()),
    "compare_outputs, first step": first_step,
    "port_report": port,
    "coordinate_check": lambda: scaling.coordinate_check(network, [4, 8], X, X[:, :3], steps=1),
}


def rows_of(result):
    return list(csv.DictReader(io.StringIO(result.to_csv())))


def points(figure):
    """Return the points of a figure as `(place, value)` by their labels."""
    axis = figure.axes[0]
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in lines}


def ticks(axis):
    """Return the texts of an axis of values in its range."""
    axis.figure.canvas.draw()
    low, high = axis.get_ylim()
    return [tick.get_text() for tick in axis.get_yticklabels() if low <= tick.get_position()[1] <= high]
