"""Errors say what they have received, and stay short whatever that is."""

import ast
import pathlib

import keras
import numpy as np
import pytest
from cases import for_each

import keras_initx
from keras_initx._received import show

LONG = {
    "array": np.ones((64, 64)),
    "arrays": [np.ones((64, 64))] * 12,
    "dict": {f"layer_{index}/kernel": np.ones((64, 64)) for index in range(50)},
    "text": "/disk/" + "folder/" * 200 + "weights.safetensors",
    "set": set(range(1000)),
    "variable": keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(4) for _ in range(9)]]).weights[0],
    "nested": {"name" * 100: {"key": ["value"] * 500}},
}
SHOWN = {
    "array": "<ndarray of shape (64, 64), float64>",
    "arrays": "a list of 12, the first <ndarray of shape (64, 64), float64>",
    "dict": "a dict of 50, the first 'layer_0/kernel': <ndarray of shape (64, 64), float64>",
    "text": "'/disk/folder/",
    "set": "a set of 1000, the first 0",
    "variable": "<Variable",
    "nested": "a dict of 1, the first 'namename",
}


@for_each(LONG)
def test_what_is_long_is_shown_by_its_kind_and_size(name):
    text = show(LONG[name])
    assert len(text) <= 200
    assert text.startswith(SHOWN[name])
    assert name != "text" or text.endswith("/weights.safetensors'")


def test_what_is_short_is_shown_whole():
    for value in (3, "kernel", [1, 2], {"a": 1}, None, (1.5, "x")):
        assert show(value) == repr(value)


@for_each(LONG)
def test_errors_of_arguments_are_short(name):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="out")])
    value = LONG[name]
    calls = [
        lambda: keras_initx.initialize(model, {"out/kernel": value}),
        lambda: keras_initx.initialize(model, seed=value),
        lambda: keras_initx.HeNormal(seed=value),
        lambda: keras_initx.Orthogonal(gain=value),
        lambda: keras_initx.load_pretrained(model, {"a": np.ones(3)}, {"out/kernel": value}),
        lambda: keras_initx.audit(model, seed=value),
        lambda: keras_initx.diagnose(value, np.ones((2, 4))),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        received = str(caught.value).partition("Received: ")[2]
        assert len(received) <= 200, received


def test_every_error_of_the_package_shows_values_the_same_way():
    unshown = []
    for path in sorted(pathlib.Path(keras_initx.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                seen = False
                for part in node.values:
                    if isinstance(part, ast.Constant) and "Received:" in part.value:
                        seen = True
                    if seen and isinstance(part, ast.FormattedValue) and part.conversion == ord("r"):
                        unshown.append(f"{path.name}:{node.lineno}")
    assert unshown == []
