"""The result of a load, or of a dry run, has each weight and array, and says what is done with it."""

import functools

import keras
import numpy as np
import results
from loaded import STATE, network, normal
from stacks import arrays, built

from keras_initx import load_pretrained
from keras_initx.types import LoadedWeight

layers = keras.layers


def test_parts_and_functions_are_told_as_they_are_written():
    state = {"stack": normal(2, 6, 4), "vector": normal(8)}
    rules = {
        "a/kernel": ("stack", 0),
        "a/bias": ("vector", np.s_[..., 2:]),
        "c/kernel": ("stack", np.s_[1, ::2, :3, None]),
        "c/bias": ("vector", np.s_[:6:2]),
        "d/kernel": ("stack", functools.partial(np.resize, new_shape=(3, 2))),
        "d/bias": ("vector", np.s_[4:6:1]),
    }
    model = built(
        (4,),
        layers.Dense(6, name="a"),
        layers.Reshape((2, 3)),
        layers.Conv1D(3, 1, name="c"),
        layers.Dense(2, name="d"),
    )
    plan = load_pretrained(model, state, rules, layout="torch")
    assert {row.path: row.detail for row in plan.rows if row.sources} == {
        "a/kernel": "[0], transposed, the order of the units is not known",
        "a/bias": "[..., 2:], the order of the units is not known",
        "c/kernel": "[1, ::2, :3, None], transposed",
        "c/bias": "[:6:2]",
        "d/kernel": "partial()",
        "d/bias": "[4:6:1]",
    }
    found = arrays(model)
    np.testing.assert_array_equal(found["a/kernel"], state["stack"][0].T)
    np.testing.assert_array_equal(found["c/kernel"][0], state["stack"][1, ::2, :3].T)
    np.testing.assert_array_equal(found["c/bias"], state["vector"][:6:2])


def test_the_plan_has_each_weight_and_array_as_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = built((5, 4), layers.LSTM(3, name="lstm"), layers.Dense(2, dtype="bfloat16", name="head"))
    state = recurrent_state(4, "lstm.") | {"head.weight": normal(3, 3), "other": normal(7)}
    rules = {"lstm": "lstm", "head/kernel": ("head.weight", np.s_[:2]), "head": None}
    plan = load_pretrained(model, state, rules, layout="torch")
    biases, parts = ("lstm.bias_ih_l0", "lstm.bias_hh_l0"), "[:2], transposed"
    assert plan.rows[2:] == [
        LoadedWeight(
            "lstm/lstm_cell/bias",
            "loaded",
            detail="summed",
            shape=(12,),
            dtype="float32",
            size=12,
            changed=12,
            sources=biases,
            source_shape=(12,),
        ),
        LoadedWeight(
            "head/kernel",
            "loaded",
            detail=parts,
            shape=(3, 2),
            dtype="bfloat16",
            size=6,
            changed=6,
            sources=("head.weight",),
            source_shape=(3, 3),
        ),
        LoadedWeight(
            "head/bias",
            "left",
            detail="None in names",
            shape=(2,),
            dtype="bfloat16",
            size=2,
            changed=0,
            sources=(),
            source_shape=None,
        ),
    ]
    lines = [" ".join(line.split()) for line in str(plan).splitlines()]
    assert lines[4] == "lstm/lstm_cell/bias (12,) lstm.bias_ih_l0 + lstm.bias_hh_l0 (12,) loaded: summed"
    assert lines[6] == "head/bias (2,) left: None in names"
    assert lines[-1] == "4 of 5 weights loaded, 1 left unchanged; unused arrays: other (7,)."


def recurrent_state(gates, module=""):
    names = {"weight_ih_l0": (3 * gates, 4), "weight_hh_l0": (3 * gates, 3)}
    names |= {"bias_ih_l0": (3 * gates,), "bias_hh_l0": (3 * gates,)}
    return {f"{module}{name}": normal(*shape) for name, shape in names.items()}


def test_a_dry_run_tells_everything_and_changes_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = network()
    before = arrays(model)
    rules = {"hidden": "body.fc", "norm": None, "out": "haed"}
    plan = load_pretrained(model, STATE, rules, layout="torch", dry_run=True)
    assert plan.dry_run
    assert all((value == before[path]).all() for path, value in arrays(model).items())
    assert len(plan.problems) == 2
    lines = str(plan).splitlines()
    assert lines[0].split() == ["weight", "shape", "array", "array", "shape", "status"]
    assert lines[2].split() == ["hidden/kernel", "(4,", "4)", "body.fc.weight", "(4,", "4)", "loaded:", "transposed"]
    assert "error: no array" in str(plan)
    assert lines[-1].startswith(
        "2 of 8 weights to be loaded, 4 left unchanged, 2 with errors; unused arrays: body.bn.weight (4,), "
    )
    assert "haed" in plan._repr_html_()


def test_a_dry_run_without_a_match_shows_the_names():
    plan = load_pretrained(network(), {"other.weight": normal(4, 4)}, layout="torch", dry_run=True)
    assert len(plan.left) == len(plan.rows)
    assert "unused arrays: other.weight (4, 4)" in str(plan)


def test_a_loading_plan_shows_what_is_done_to_each_weight():
    state = {"a.weight": np.ones((8, 6)), "a.bias": np.ones(8), "b.weight": np.ones((2, 2)), "b.bias": np.ones(8)}
    rules = {"first": "a", "second": "b"}
    plan = load_pretrained(results.network(), state, rules, layout="torch", dry_run=True)
    assert [row.size for row in plan.rows] == [48, 8, 64, 8, 24, 3]
    assert [row.changed for row in plan.rows] == [48, 8, 0, 8, 0, 0]
