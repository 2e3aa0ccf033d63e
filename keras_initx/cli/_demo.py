"""The command `demo`: a network that does not learn, the reason, the remedy, and both results."""

import argparse
import sys

import keras
import numpy as np

from keras_initx import _startup, demo
from keras_initx._extras import import_optional
from keras_initx.report._table import Table
from keras_initx.report._terminal import show_progress
from keras_initx.report._text import format_number
from keras_initx.tools.diagnose._diagnose import diagnose
from keras_initx.tools.diagnose._report import DiagnosisReport
from keras_initx.tools.initialize._initialize import initialize

_EPOCHS = 8
_HELD_OUT = 0.2
# The layers whose outputs are shown.
_SHOWN = ("layer_1", "layer_10", "layer_20", "layer_30", "layer_40")


def run(parser: argparse.ArgumentParser, _arguments: argparse.Namespace) -> int:
    """Run `demo`: diagnose forty layers, initialize them by the remedy, and train both."""
    try:
        threads = import_optional("threadpoolctl", "demo")
        x, y = demo.digits()
    except ImportError as error:
        parser.error(str(error))
    _say(
        f"Forty ReLU layers with Keras' default weights, and {len(x)} images of digits, on "
        f"{keras.backend.backend()}"
    )
    # PyTorch divides the products of these small layers among threads. They wait for each other
    # longer than they compute, where other programs use the cores too.
    with threads.threadpool_limits(1):
        _tell(x, y)
    sys.stdout.write(
        "Next, a model and a batch (x, y) that functions of yours return:\n\n"
        f"    {_startup.program()} diagnose FILE.py:model --data FILE.py:batch\n"
    )
    return 0


def _tell(x: np.ndarray, y: np.ndarray) -> None:
    """Print the findings before and after the remedy, and the accuracy of both networks."""
    _say("1. keras_initx.diagnose(model, x, y)")
    default = _make_network()
    report = _diagnose(default, x, y)
    for problem in report.problems:
        _say(str(problem))

    _say("2. keras_initx.initialize(model, report, seed=0)")
    remedied = _make_network()
    _say(str(initialize(remedied, report, seed=0)))

    _say("3. keras_initx.diagnose(model, x, y)")
    if _diagnose(remedied, x, y).ok:
        _say("No problem found.")

    _say(f"4. model.fit(x, y, epochs={_EPOCHS}, validation_split={_HELD_OUT}), of both")
    accuracies = (
        ("Keras' default weights", _train("default weights", default, x, y)),
        ("after initialize", _train("after initialize", remedied, x, y)),
    )
    _say(Table(("held out", "accuracy"), accuracies, are_text=(True, False)).as_text())


def _say(text: str) -> None:
    """Print a paragraph."""
    sys.stdout.write(f"{text.rstrip()}\n\n")
    sys.stdout.flush()  # what comes next takes seconds


def _make_network() -> keras.Model:
    """Build the network, with the same weights at each call."""
    keras.utils.set_random_seed(0)
    return demo.forty_layers()


def _diagnose(model: keras.Model, x: np.ndarray, y: np.ndarray) -> DiagnosisReport:
    """Diagnose the network, and print how large the outputs of some layers are."""
    report = diagnose(model, x, y)
    names, stds = ["output of"], ["standard deviation"]
    for layer in report.rows:
        if layer.name in _SHOWN and layer.after is not None:
            names.append(layer.name)
            stds.append(format_number(layer.after.std))
    are_text = (True, *(False for _ in _SHOWN))
    _say(Table(tuple(names), (tuple(stds),), are_text=are_text).as_text())
    return report


def _train(name: str, model: keras.Model, x: np.ndarray, y: np.ndarray) -> str:
    """Train a network, and return its accuracy on the images that were held out."""
    with show_progress(f"Training, {name}", _EPOCHS, "epochs") as advance:
        epochs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: advance(1))
        history = model.fit(
            x, y, epochs=_EPOCHS, validation_split=_HELD_OUT, verbose=0, callbacks=[epochs]
        ).history
    return f"{history['val_accuracy'][-1]:.2f}"
