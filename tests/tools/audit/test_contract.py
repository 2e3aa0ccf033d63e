"""Contracts, and audits against them: what changed, and what did not."""

import gc
import random
import weakref

import keras
import numpy as np
import pytest
from audited import deep_network, off_with_causes, today
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.tools.audit import _contract


def test_several_draws_tell_fixed_weights_from_random_ones():
    def build():
        fixed = layers.Dense(64, kernel_initializer=keras.initializers.GlorotUniform(seed=1), name="fixed")
        drawn = layers.Dense(64, name="drawn")
        return keras.Sequential([keras.Input((64,)), fixed, drawn])

    kinds = {weight.path: weight.kind for weight in keras_initx.contract(build).rows}
    assert (kinds["fixed/kernel"], kinds["drawn/kernel"]) == ("fixed", "random")
    one = {weight.path: weight.kind for weight in keras_initx.contract(build, draws=1).rows}
    assert one["fixed/kernel"] == "random"


def test_a_weight_that_is_drawn_no_longer_is_named_by_several_draws():
    def build(seed=None):
        kernel = keras.initializers.GlorotUniform(seed)
        return keras.Sequential([keras.Input((64,)), layers.Dense(64, kernel_initializer=kernel, name="dense")])

    before = keras_initx.contract(build, draws=2)
    (row,) = keras_initx.audit(keras_initx.contract(lambda: build(1), draws=2), like=before).problems
    assert (row.path, row.status) == ("dense/kernel", "constant")
    assert keras_initx.audit(build(1), like=before).ok


@pytest.mark.release_backends
def test_nothing_changed():
    contract = keras_initx.contract(lambda: deep_network(dtype="bfloat16"), draws=2)
    report = keras_initx.audit(today(1, dtype="bfloat16"), like=contract)
    assert report.ok, report.problems
    assert not report.not_compared


def test_constants_are_compared_exactly(yesterday):
    report = keras_initx.audit(today(1, bias="ones"), like=yesterday)
    assert {row.detail for row in report.problems} == {"all values are 1, expected 0"}
    report = keras_initx.audit(today(1, bias="random_normal"), like=yesterday)
    assert {row.status for row in report.problems} == {"values"}


def test_equal_weights_of_the_contract_may_be_equal_and_must_be():
    def build(is_shared=True):
        model = deep_network(depth=2)
        if is_shared:
            model.layers[1].kernel.assign(model.layers[0].kernel)
        return model

    contract = keras_initx.contract(build, draws=2)
    assert contract.equal == [["hidden_0/kernel", "hidden_1/kernel"]]
    assert keras_initx.audit(build(), like=contract).ok
    report = keras_initx.audit(build(is_shared=False), like=contract)
    assert [row.detail for row in report.problems] == ["no longer equal to 'hidden_0/kernel'"]
    # Of several draws no digest is known.
    free = keras_initx.contract(lambda: build(is_shared=False), draws=2)
    assert keras_initx.audit(free, like=free).ok
    assert [row.path for row in keras_initx.audit(contract, like=free).problems] == ["hidden_1/kernel"]
    assert [row.path for row in keras_initx.audit(free, like=contract).problems] == ["hidden_1/kernel"]


def test_what_two_versions_of_one_model_have_in_common_is_known(tmp_path):
    before, after = today(1), today(1)
    after.layers[1].kernel.assign(1.5 * after.layers[1].kernel)
    before.save(tmp_path / "before.keras")
    report = keras_initx.audit(after, like=str(tmp_path / "before.keras"))
    assert off_with_causes(report).keys() == {"hidden_1/kernel"}
    assert len(report.unchanged) == 11
    assert report.summary.startswith("1 of 12 weights is not as in before.keras. The same bit for bit: 11 of 12.")


def test_a_contract_of_one_draw_knows_bits():
    model = today(1)
    contract = keras_initx.contract(model)
    model.layers[0].kernel.assign(to_numpy(model.layers[0].kernel) * 1.5)
    report = keras_initx.audit(model, like=contract)
    assert report.summary == ("1 of 12 weights is not as in the contract. The same bit for bit: 11 of 12.")


def test_weights_that_are_too_small_are_named(yesterday):
    assert "too few" not in keras_initx.audit(today(1), like=yesterday).summary
    small = keras_initx.contract(lambda: keras.Sequential([keras.Input((8,)), layers.Dense(8)]))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8)])
    report = keras_initx.audit(model, like=small)
    assert "1 weight (dense/kernel) has too few values" in report.summary
    assert "the audit may miss a change of scale by a factor of 1.2, but not by 1." in report.summary
    assert 1.3 < report.rows[0].resolution < 1.7


def test_generators_are_as_before():
    keras.utils.clear_session()  # old versions keep their global generator when they are seeded
    keras.utils.set_random_seed(5)
    expected = random.random(), to_numpy(keras.random.normal((3,))).tolist()
    keras.utils.clear_session()
    keras.utils.set_random_seed(5)
    keras_initx.contract(deep_network, draws=1)
    assert (random.random(), to_numpy(keras.random.normal((3,))).tolist()) == expected


def test_a_large_model_is_gone_before_the_next_is_drawn(monkeypatch):
    monkeypatch.setattr(_contract, "_LARGE_GARBAGE", 100)
    models = []

    def build():
        assert [model() for model in models] == [None] * len(models)
        model = keras.Sequential([keras.Input((10,)), layers.Dense(10)])
        models.append(weakref.ref(model))
        return model

    gc.disable()
    try:
        keras_initx.contract(build, draws=3)
    finally:
        gc.enable()


def test_draws_follow_from_the_seed():
    one = keras_initx.contract(deep_network, draws=1, seed=1).to_json()
    assert keras_initx.contract(deep_network, draws=1, seed=1).to_json() == one
    assert keras_initx.contract(deep_network, draws=1, seed=2).to_json() != one


def test_arguments_that_are_refused(yesterday):
    with pytest.raises(ValueError, match="`seed` must be left out with `like`"):
        keras_initx.audit({}, like=yesterday, seed=1)
    with pytest.raises(TypeError, match=r"`weights` must be a model or arrays, .* pass these as `like`"):
        keras_initx.audit(yesterday)
    with pytest.raises(ValueError, match="`draws` must be a positive integer"):
        keras_initx.contract(deep_network, draws=0)
    with pytest.raises(TypeError, match="`build` must be a function without arguments"):
        keras_initx.contract(lambda depth: deep_network(depth=depth))
    with pytest.raises(TypeError, match="of a torch module"):
        keras_initx.contract(layers.Dense(3))
    with pytest.raises(ValueError, match="`build` must have at least one array"):
        keras_initx.contract({})
    with pytest.raises(ValueError, match="`build` must make the same weights each time"):
        keras_initx.contract(lambda: {str(random.getrandbits(32)): np.zeros(9)}, draws=2)
    with pytest.raises(ValueError, match="must be built"):
        keras_initx.contract(lambda: keras.Sequential([layers.Dense(3)]))


def test_equal_heads_and_single_values_out_of_bounds_are_found(yesterday):
    model = today(1)
    first, second = to_numpy(model.layers[0].kernel).copy(), to_numpy(model.layers[1].kernel).copy()
    first[:, 7] = first[:, 9]
    second[0, 5] = 3 * np.abs(second).max()
    model.layers[0].kernel.assign(first)
    model.layers[1].kernel.assign(second)
    verdicts = {row.path: row.status for row in keras_initx.audit(model, like=yesterday).problems}
    assert verdicts == {"hidden_0/kernel": "equal slices", "hidden_1/kernel": "bounds"}
