"""Weights are audited wherever they are: in a model, in a file, in a dict."""

import keras
import numpy as np
import pytest
from audited import RULES, network, off, off_with_causes, today
from meshes import distribution, mesh_of
from modes import BACKEND, often, to_numpy

import keras_initx
from keras_initx.backends._current import backend

RNG = np.random.default_rng(0)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="Keras shards variables on JAX only")
@pytest.mark.parametrize("expected", often(["seed", "plan", "rules"], ["plan"]))
def test_a_sharded_model_is_audited_without_a_copy_that_stays(expected, tmp_path, monkeypatch):

    layout_map = distribution.LayoutMap(mesh_of((2, 4)))
    layout_map[".*kernel"] = ("inputs", "units")
    with distribution.ModelParallel(layout_map=layout_map, batch_dim_name="inputs").scope():
        model = network()
        plan = keras_initx.initialize(model, RULES, seed=3)
        plan.save(tmp_path / "init.json")
        kernel = model.layers[0].kernel
        whole = []
        view = type(backend).host_view
        monkeypatch.setattr(type(backend), "host_view", lambda self, x: whole.append(x.shape) or view(self, x))
        arguments = {"seed": (RULES, 3), "plan": (tmp_path / "init.json", None), "rules": (RULES, None)}[expected]
        report = keras_initx.audit(model, arguments[0], seed=arguments[1])
        assert report.ok
        assert (kernel.shape in whole) == (expected == "rules")
        assert kernel.value._npy_value is None
        assert report.rows[0].std == pytest.approx(float(np.std(to_numpy(kernel))))
        values = np.array(to_numpy(kernel))
        values[40, 3] *= 1.5
        kernel.assign(values)
        (row,) = keras_initx.audit(model, arguments[0], seed=arguments[1]).problems or [None]
        if expected == "rules":
            assert row is None
        else:
            assert row.detail == f"1 of 3072 values differ from the {expected}"


def test_a_saved_model_is_loaded(tmp_path):
    model = network()
    keras_initx.initialize(model, RULES, seed=0)
    model.save(tmp_path / "model.keras")
    for path in (tmp_path / "model.keras", str(tmp_path / "model.keras")):
        assert keras_initx.audit(path, RULES, seed=0).ok
        assert off(keras_initx.audit(path)) == {"hidden/kernel": "scale", "last/kernel": "scale"}


class Lazy:
    """An array that is read when it is needed."""

    def __init__(self, array):
        self.array = array
        self.shape = list(array.shape)
        self.dtype = str(array.dtype)

    def __array__(self, dtype=None, copy=None):
        return self.array


def trainable_tensor(array):
    return keras.Variable(array).value  # on torch a `Parameter`


@pytest.mark.every_backend
@pytest.mark.parametrize("form", [np.ndarray.tolist, Lazy, keras.Variable, trainable_tensor])
def test_arrays_of_a_dict_may_have_any_form(form):
    values, twice = RNG.normal(0, 0.02, (2, 64, 32)).astype("float32")
    others = {"_extra_state": object(), "version": None}
    expected = {name: form(RNG.normal(0, 0.02, (64, 32)).astype("float32")) for name in ("right", "wrong")}
    report = keras_initx.audit({"right": form(values), "wrong": form(2 * twice), **others}, like={**expected, **others})
    assert off(report) == {"wrong": "scale"}
    assert {row.path: row.detail for row in report.not_compared} == {
        "_extra_state": "no array",
        "version": "no array",
    }


def test_weights_that_are_saved_alone_are_arrays(tmp_path):
    model = network()
    model.save_weights(tmp_path / "before.weights.h5")
    model.layers[1].bias.assign(np.ones(40))
    model.save_weights(tmp_path / "after.weights.h5")
    report = keras_initx.audit(tmp_path / "after.weights.h5", like=tmp_path / "before.weights.h5")
    assert len(report.unchanged) == len(report.rows) - 1 == 3
    assert set(off(report).values()) == {"values"}


@pytest.mark.release_backends
def test_weights_in_all_forms(yesterday, tmp_path):
    """Two draws in a model, a dict, a saved model, a file of arrays, and a contract."""
    one, other = today(1), today(2)
    forms = []
    for name, model in (("one", one), ("other", other)):
        paths = [weight.path for weight in yesterday.rows]
        arrays = {path: to_numpy(weight) for path, weight in zip(paths, model.weights, strict=True)}
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", **arrays)
        saved, file = tmp_path / f"{name}.keras", str(tmp_path / f"{name}.npz")
        forms.append([model, arrays, saved, file, keras_initx.contract(model)])
    # Each form once on either side.
    for first, second in zip(forms[0], reversed(forms[1]), strict=True):
        report = keras_initx.audit(first, like=second)
        assert report.ok, (type(first), type(second), report.problems)
        assert len(report.rows) == 12


@pytest.mark.parametrize("is_torch", [True, False])
def test_a_transposed_view_of_a_square_matrix_is_not_tied_to_it(is_torch):
    import torch

    values = np.random.default_rng(0).normal(size=(32, 32)).astype("float32")
    square = torch.tensor(values) if is_torch else values
    arrays = {"a": square, "b": square.T, "c": square[:], "d": square[:1].T, "e": square[:1].reshape(32, 1)}
    contract = keras_initx.contract(arrays)
    tied = {row.path: row.text for row in contract.rows if "tied" in row.text}
    assert tied == {"c": "(tied to 'a')", "e": "(tied to 'd')"}


def test_tied_weights_of_a_dict():
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    other = np.random.default_rng(1).normal(size=(64, 64)).astype("float32")
    tied, free = {"a": kernel, "b": kernel}, {"a": kernel, "b": other}
    assert keras_initx.audit(tied, like=tied).ok
    assert off_with_causes(keras_initx.audit(tied, like=free)) == {"b": ("equal weights", "")}
    assert off_with_causes(keras_initx.audit(free, like=tied)) == {"b": ("equal weights", "")}


def test_masks_integers_and_empty_arrays():
    mask = np.triu(np.full((16, 16), -np.inf, "float32"), 1)

    def build():
        return {"mask": mask, "ids": np.arange(8), "empty": np.zeros((0, 3), "float32")}

    contract = keras_initx.contract(build, draws=2)
    assert [weight.kind for weight in contract.rows] == ["fixed", "fixed", "unknown"]
    assert keras_initx.audit(build(), like=contract).ok
    changed = keras_initx.audit({**build(), "mask": mask.T, "ids": np.arange(8) + 1}, like=contract)
    assert off_with_causes(changed).keys() == {"mask", "ids"}
