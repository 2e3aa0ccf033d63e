"""The result of `loading`, as a text and as a table."""

import json

import keras
import numpy as np
import pytest
from stacks import built

import keras_initx
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


def groups_after(missed):
    """Return what is said of the weights that were loaded, if those at `missed` were not."""
    stack = [layers.Dense(4, name=f"{kind}_{n}") for kind in ("body", "top") for n in range(3)]
    model = built((4,), keras.Sequential([keras.Input((4,)), *stack], name="backbone"), layers.Dense(2, name="head"))
    with keras_initx.loading(model) as loaded:
        for weight in Inventory(model).weights:
            if weight.path not in missed:
                weight.variable.assign(keras.ops.ones(weight.shape))
    assert loaded.missed == missed
    return str(loaded).partition("\nLoaded: ")[2]


@pytest.mark.parametrize(
    ("missed", "groups"),
    [
        ([], "backbone/*, head/*."),
        (["head/kernel", "head/bias"], "backbone/*."),
        (["backbone/top_1/bias"], "backbone/body*/* (3), backbone/top*/* (2), backbone/top_1/kernel,\n    head/*."),
    ],
)
def test_what_was_loaded_is_in_one_line_by_the_outermost_layers_that_miss_nothing(missed, groups):
    assert groups_after(missed) == groups


def partly_loaded():
    model = built((4,), layers.Dense(3, name="hidden"), layers.Dense(2, name="head", dtype="bfloat16"))
    with keras_initx.loading(model, seed=0) as loaded:
        model.layers[0].bias.assign(np.ones(3))
        model.layers[1].kernel.assign(np.full((3, 2), np.nan))
    return loaded


def test_a_text_shows_what_is_missed_and_what_is_not_known():
    assert str(partly_loaded()) == (
        "weight          shape  status\n"
        "------------------------------------------------------------------------------\n"
        "hidden/kernel  (4, 3)  drawn: GlorotUniform()\n"
        "head/kernel    (3, 2)  not known: 6 of 6 values are NaN, perhaps never written\n"
        "head/bias        (2,)  drawn: Zeros()\n\n"
        "2 of 4 weights were never written: redrawn, seed 0; 1 not known.\n"
        "Loaded: hidden/bias."
    )


def test_problems_are_the_rows_that_are_not_loaded():
    loaded = partly_loaded()
    assert [row.path for row in loaded.problems] == ["hidden/kernel", "head/kernel", "head/bias"]
    assert (loaded.ok, loaded.missed, loaded.not_known) == (False, ["hidden/kernel", "head/bias"], ["head/kernel"])


def test_tables_have_all_weights():
    loaded = partly_loaded()
    statuses = ["drawn", "loaded", "not known", "drawn"]
    assert list(loaded.to_pandas()["status"]) == statuses
    content = json.loads(loaded.to_json())
    assert [weight["status"] for weight in content["rows"]] == statuses
    assert (content["summary"], content["seed"]) == (loaded.summary, 0)
