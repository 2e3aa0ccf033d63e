"""Weights that are one draw are found: times a factor, with the other sign, or in two lengths."""

import itertools

import keras
import numpy as np
import pytest
from audited import audit, off
from keras import layers
from modes import often, to_numpy

import keras_initx
from keras_initx.tools.audit._equal_values import group_one_draw
from keras_initx.tools.audit._subjects import profile_values

NORMAL = keras_initx.RandomNormal(stddev=0.1)
DRAW = np.random.default_rng(0).normal(0, 0.1, (64, 64)).astype("float32")
OTHER = np.random.default_rng(1).normal(0, 0.1, (64, 64)).astype("float32")
FORMS = {
    "times 0.7": (0.7 * DRAW, "one draw with 'a', times 0.7"),
    "negative": (-DRAW, "one draw with 'a', times -1"),
    "negative and smaller": (-0.25 * DRAW, "one draw with 'a', times -0.25"),
    "longer": (np.resize(DRAW, (64, 96)), "one draw with 'a', and one is the beginning of the other"),
    "shorter, times 0.1": (0.1 * DRAW[:32], "one draw with 'a', and one is the beginning of the other, times 0.1"),
    "in another shape": (0.5 * DRAW.reshape(16, 256), "one draw with 'a', times 0.5"),
    "a bias": (2 * DRAW[0, :24], "one draw with 'a', and one is the beginning of the other, times 2"),
    "around another mean": (0.7 * DRAW + 3, "one draw with 'a', times"),
}


@pytest.mark.parametrize("form", often(FORMS, [*FORMS][::2]))
def test_one_draw_is_named_by_rules_and_beside_others(form):
    values, evidence = FORMS[form]
    arrays = {"a": DRAW, "b": values.astype("float32")}
    for report in (
        audit(arrays, {"a": NORMAL, "b": keras_initx.RandomNormal(float(values.mean()), float(values.std()))}),
        keras_initx.audit(arrays, like={"a": OTHER, "b": np.resize(OTHER.T, values.shape)}),
    ):
        row = report["b"]
        assert row.status == "equal weights", report.source
        assert row.detail.startswith(evidence)
        assert report["a"].status == "as expected"


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", often(["float32", "bfloat16", "float16"], ["bfloat16"]))
def test_one_seed_with_a_scale_for_each_layer_is_found_in_each_dtype(dtype):
    def dense(number):
        kernel = keras_initx.RandomNormal(stddev=0.1 / (number + 1), seed=7)
        return layers.Dense(64, kernel_initializer=kernel, name=f"d{number}", dtype=dtype)

    model = keras.Sequential([keras.Input((64,)), *map(dense, range(3)), layers.Dense(64, name="free", dtype=dtype)])
    assert off(keras_initx.audit(model)) == {"d1/kernel": "equal weights", "d2/kernel": "equal weights"}


def test_a_contract_tells_one_draw_that_is_new_from_one_that_was_there(tmp_path):
    scales = itertools.count(1)

    def build(is_one=True):
        rng = np.random.default_rng(next(scales))
        first, second = rng.normal(0, 0.1, (2, 64, 64))
        return {"a": first, "b": 0.7 * (first if is_one else second)}

    one, free = keras_initx.contract(build), keras_initx.contract(lambda: build(is_one=False))
    for contract in (one, free):
        contract.save(tmp_path / "a.json")
        assert keras_initx.types.Contract.load(tmp_path / "a.json").one_draw == contract.one_draw
    assert (one.equal, one.one_draw, free.one_draw) == ([], [["a", "b"]], [])
    assert keras_initx.audit(build(), like=one).ok
    assert keras_initx.audit(build(is_one=False), like=free).ok
    assert off(keras_initx.audit(build(), like=free)) == {"b": "equal weights"}
    (row,) = keras_initx.audit(build(is_one=False), like=one).problems
    assert (row.path, row.detail) == ("b", "no longer one draw with 'a'")


def test_the_scale_of_one_draw_is_no_scale_of_several():
    """Eight kernels that are one draw with 3 % too much by chance are no eight kernels."""
    seeds = itertools.count(3)

    def build(scale=1.0):
        kernel = np.random.default_rng(next(seeds)).normal(0, scale, (32, 32))
        return {f"layers.{number}.weight": (-1) ** number * kernel for number in range(8)}

    assert keras_initx.audit(build(1.06), like=keras_initx.contract(build)).ok


@pytest.mark.parametrize(
    "values",
    {
        "sorted": np.sort(DRAW.ravel()),
        "nearly sorted": np.linspace(-1, 1, 4096) + 1e-3 * DRAW.ravel(),
        "two numbers": np.where(DRAW > 0, 1.0, -1.0),
        "the same four numbers again": np.resize(DRAW[0, :4], (64, 64)),
        "few": DRAW[0, :12],
        "positive and in few numbers": np.arange(64) % 5 + 1.0,
    }.values(),
)
def test_patterns_and_few_values_are_no_draw(values):
    profile = profile_values(values.astype("float32"), "float32")
    assert (profile.signs, profile.ranks) == ("", "")


def test_a_pattern_of_few_negative_values_is_no_draw():
    signs = np.where(np.arange(DRAW.size) % 7 == 3, -1, 1).astype("float32")
    profiles = [profile_values(signs * abs(draw.ravel()), "float32") for draw in (DRAW, OTHER)]
    assert group_one_draw(zip("ab", profiles, strict=True)) == []


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.rare)])
def test_independent_draws_are_never_one(dtype):
    rng = np.random.default_rng(0)
    profiles = []
    for number in range(300):
        values = [rng.normal(size=80), rng.uniform(-1, 1, 80), rng.normal(3, 1, 20), rng.exponential(size=70)][
            number % 4
        ]
        values = to_numpy(keras.ops.cast(keras.ops.cast(values, dtype), "float32"))
        profiles.append((str(number), profile_values(values, dtype)))
    assert group_one_draw(profiles) == []
    assert sum(bool(profile.signs or profile.ranks) for _, profile in profiles) > 150


class Structured(keras.initializers.Initializer):
    """Numbers with a pattern of their own, and hardly any noise."""

    def __call__(self, shape, dtype=None):
        pattern = np.random.default_rng(3).normal(size=shape)
        return keras.ops.cast(pattern + 1e-4 * keras.ops.convert_to_numpy(keras.random.normal(shape)), dtype)


def test_what_all_draws_of_an_initializer_have_in_common_is_no_fault():
    def build():
        hidden = [layers.Dense(64, kernel_initializer=Structured(), name=name) for name in "ab"]
        return keras.Sequential([keras.Input((64,)), *hidden])

    assert keras_initx.audit(build()).ok
    assert keras_initx.audit(build(), like=build).ok


@pytest.mark.parametrize(
    "initializer",
    [
        keras_initx.ICNR(NORMAL, 2),
        pytest.param(keras_initx.DeltaOrthogonal(), marks=pytest.mark.rare),
        keras_initx.Sparse(8),
        keras_initx.Orthogonal(),
        keras_initx.Concatenated([NORMAL, "zeros"], axis=-1),
    ],
)
def test_draws_of_any_law_are_no_alarm_and_one_draw_is(initializer):
    arrays = {name: to_numpy(initializer.clone()((3, 3, 16, 64))) for name in "abcd"}
    assert audit(arrays, {"*": initializer}).ok
    arrays["c"] = -arrays["b"]
    assert off(audit(arrays, {"*": initializer})) == {"c": "equal weights"}
