"""What a weight gets by a plan, without its model: the values of the weight, and of parts of it."""

import contextlib
import copy
import gc
import pickle
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest
from cases import label
from modes import float64
from plans import Registered, assert_same, holder, network
from stacks import arrays

import keras_initx
from keras_initx import initialize

layers = keras.layers

PARTS = (
    np.s_[1:, :3],
    np.s_[-1:, :],
    np.s_[:, ::-2],
    np.s_[2:5:2, 1:2],
    np.s_[:0, :],
    np.s_[:, :],
)


@pytest.mark.parametrize(
    ("initializer", "dtype"),
    [
        ("random_uniform", "bfloat16"),
        ("random_normal", "float32"),
        pytest.param("truncated_normal", "bfloat16", marks=pytest.mark.every_backend),
        ("initx.time_step_bias", "float32"),
        pytest.param(keras_initx.Scaled("initx.he_normal", 0.3), "bfloat16", marks=pytest.mark.every_backend),
        ("ones", "bfloat16"),
        ("initx.orthogonal", "bfloat16"),
        (Registered(1.0), "float32"),
    ],
    ids=label,
)
def test_a_part_is_that_part_of_the_whole_and_what_is_assigned(initializer, dtype):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, name="dense", dtype=dtype)])
    plan = initialize(model, {"dense/kernel": initializer}, seed=6)
    whole = plan.draw("dense/kernel")
    assert_same(whole, arrays(model)["dense/kernel"])
    for region in PARTS:
        assert_same(plan.draw("dense/kernel", region), whole[region])


def test_a_part_is_an_array_of_its_own():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, name="dense")])
    plan = initialize(model, {"dense/kernel": "initx.orthogonal"}, seed=6)
    (planned,) = [weight for weight in plan._planned if weight.row.path == "dense/kernel"]
    planned.values(PARTS[0])[:] = 7
    assert_same(planned.values(PARTS[0]), plan.draw("dense/kernel")[PARTS[0]])


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize(
    "context",
    [contextlib.nullcontext, pytest.param(float64, marks=pytest.mark.every_backend)],
    ids=["plain", "x64"],
)
def test_a_part_of_a_weight_in_float64_has_the_dtype_that_the_backend_has(context):
    with context():
        for initializer in ("truncated_normal", "ones"):
            model = keras.Sequential([keras.Input((6,)), layers.Dense(8, name="dense", dtype="float64")])
            plan = initialize(model, {"dense/kernel": initializer}, seed=6)
            whole = plan.draw("dense/kernel")
            assert_same(whole, arrays(model)["dense/kernel"])
            assert_same(plan.draw("dense/kernel", PARTS[0]), whole[PARTS[0]])
            assert keras_initx.audit(model, plan).ok


def test_parts_of_large_weights_are_made_in_blocks():
    model = holder((300, 500), "he_normal")
    plan = initialize(model, seed=1)
    whole = plan.draw("holder/kernel")
    for region in np.s_[100:, :], np.s_[:, :300], np.s_[7:250, 1:2]:
        assert_same(plan.draw("holder/kernel", region), whole[region])


def test_a_part_needs_no_more_memory_than_its_size():
    plan = initialize(holder((8, 8), "random_normal"), seed=1, dry_run=True)
    (weight,) = plan._planned
    huge = replace(weight, row=replace(weight.row, shape=(1 << 16, 1 << 15)))  # 8 GiB
    assert huge.values(np.s_[-2:, -3:]).shape == (2, 3)


def test_a_users_draw_in_place_of_one_of_the_package_is_made_as_a_whole():
    class Sorted(keras_initx.RandomNormal):
        def draw(self, stream, shape, dtype):
            return np.sort(super().draw(stream, shape, dtype))

    plan = initialize(holder((6, 8)), {"*": Sorted()}, seed=1, dry_run=True)
    assert_same(plan.draw("holder/kernel", np.s_[1:, :3]), plan.draw("holder/kernel")[1:, :3])


def test_what_can_only_be_made_together_is_made_once_for_all_parts(monkeypatch):
    plan = initialize(holder((6, 8)), {"*": "initx.orthogonal"}, seed=1, dry_run=True)
    (weight,) = plan._planned
    made = []
    call = keras_initx.Orthogonal.__call__

    def counted(self, *arguments, **options):
        made.append(weakref.ref(self))
        return call(self, *arguments, **options)

    monkeypatch.setattr(keras_initx.Orthogonal, "__call__", counted)
    whole = np.concatenate([weight.values(np.s_[:, first : first + 2]) for first in range(0, 8, 2)], axis=1)
    assert len(made) == 1
    assert_same(whole, plan.draw("holder/kernel"))


def test_a_plan_keeps_no_values_that_were_drawn_of_it():
    plan = initialize(holder((6, 8)), {"*": "initx.orthogonal"}, seed=1, dry_run=True)
    before = pickle.dumps(plan)
    plan.draw("holder/kernel", np.s_[1:, :3])
    assert len(pickle.dumps(plan)) == len(before)


def test_a_plan_keeps_nothing_of_its_model():
    model = network()
    plans = [initialize(model, seed=1, dry_run=dry_run) for dry_run in (True, False)]
    plans.append(initialize(model, plans[0]))
    references = [weakref.ref(part) for part in (model, *model.layers, *model.variables)]
    del model
    gc.collect()
    assert not any(reference() for reference in references)
    assert len(plans) == 3


def test_a_plan_can_be_copied_and_pickled():
    model, other = network(), network()
    plan = initialize(model, {"hidden/kernel": "initx.orthogonal", "norm/*": None}, seed=1)
    for again in copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan)):
        assert (again.rows, again.notes, str(again)) == (plan.rows, plan.notes, str(plan))
        assert_same(again.draw("hidden/kernel"), arrays(model)["hidden/kernel"])
        initialize(other, again)
        assert_same(arrays(other)["hidden/kernel"], arrays(model)["hidden/kernel"])
