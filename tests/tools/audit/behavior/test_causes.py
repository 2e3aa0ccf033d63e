"""The cause of what differs is named where the numbers single it out."""

import keras
import numpy as np
import pytest
from audited import audit, off_with_causes, sole, today
from keras import layers
from modes import often, to_numpy

import keras_initx


def chain(scale, depth):
    """Return a network without residual branches."""
    starts = [keras_initx.VarianceScaling(scale, "fan_in", "truncated_normal") for _ in range(depth)]
    hidden = [layers.Dense(128, "swish", kernel_initializer=start, name=f"h{n}") for n, start in enumerate(starts)]
    return keras.Sequential([keras.Input((128,)), *hidden])


@pytest.mark.parametrize(
    ("scale", "depth", "cause"),
    [(2.0, 2, "a gain of sqrt(2)"), (0.5, 2, "a gain of sqrt(2) left out"), (3.0, 3, ""), (4.0, 4, "")],
)
def test_layers_without_residual_branches_have_no_factor_of_depth(scale, depth, cause):
    keras.utils.set_random_seed(0)
    before = keras_initx.contract(lambda: chain(1.0, depth))
    found = keras_initx.audit(chain(scale, depth), like=before).problems
    assert [row.cause for row in found] == [cause] * depth


@pytest.mark.parametrize(("factor", "cause"), [(2**0.5, "He's scale"), (2.0, "")])
def test_a_weight_on_one_device_has_no_fan_of_a_shard(factor, cause):
    keras.utils.set_random_seed(0)
    model = chain(1.0, 1)
    model.layers[0].kernel.assign(model.layers[0].kernel * factor)
    assert sole(keras_initx.audit(model, {"*kernel": "initx.lecun_normal"})) == ("scale", cause)


@pytest.mark.parametrize(
    "initializer", [keras_initx.Sparse(8), keras_initx.Orthogonal(input_axes=[1, 2], output_axes=[0])]
)
def test_an_exchanged_axis_is_named(initializer):
    shape = (60, 90) if isinstance(initializer, keras_initx.Sparse) else (64, 4, 16)
    contract = keras_initx.contract(lambda: {"a": to_numpy(initializer(shape))})
    values = to_numpy(initializer(shape))
    (row,) = keras_initx.audit({"a": values.T.copy()}, like=contract).problems
    assert (row.status, row.cause) == ("reshaped", "an axis exchanged")


@pytest.mark.rare
def test_a_cause_is_named_for_small_weights_too_where_few_are_possible():
    rng = np.random.default_rng(0)
    rules = {"*output": keras_initx.RandomNormal(stddev=0.02 / np.sqrt(24)), "*": keras_initx.RandomNormal(stddev=0.02)}
    arrays = {f"block_{number}/output": rng.normal(0, 0.02, (24, 24)) for number in range(24)}
    arrays["table"] = rng.normal(0, 0.02, (24, 24))
    causes = {row.path: row.cause for row in audit(arrays, rules).problems}
    assert set(causes.values()) == {"depth scaling 1/sqrt(24) not applied"}
    assert len(causes) == 24
    # By fans: of He, Glorot or the fan of a shard, several fit a scale that is so inexact.
    row = audit({"a": rng.normal(0, 0.3, (24, 24))}, {"a": "initx.he_normal"}).problems[0]
    assert row.cause == ""


def test_a_variance_that_is_given_as_a_deviation_is_named():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(0, 1 / 300, (300, 200))}
    assert sole(audit(values, {"a": keras_initx.RandomNormal(stddev=300**-0.5)})) == (
        "scale",
        "the variance given as the standard deviation",
    )
    contract = keras_initx.contract(lambda: {"a": rng.normal(0, 300**-0.5, (300, 200))})
    assert sole(keras_initx.audit(values, like=contract))[1] == "the variance given as the standard deviation"
    values = {"a": rng.normal(0, 300**-0.25, (300, 200))}
    assert sole(keras_initx.audit(values, like=contract))[1] == "the standard deviation given as the variance"


def test_another_fixed_seed_is_named():
    def build(seed):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        return keras.Sequential([keras.Input((64,)), layers.Dense(64, kernel_initializer=initializer, name="a")])

    contract = keras_initx.contract(lambda: build(1), draws=2)
    assert keras_initx.audit(build(1), like=contract).ok
    assert off_with_causes(keras_initx.audit(build(2), like=contract)) == {
        "a/kernel": ("values", "distributed as before: another seed?")
    }


def test_another_gain_is_named(yesterday):
    start = keras.initializers.VarianceScaling(2.0, "fan_avg", "uniform")
    report = keras_initx.audit(today(1, kernel=start), like=yesterday)
    assert {(row.status, row.cause) for row in report.problems} == {("scale", "a gain of sqrt(2)")}
    assert len(report.problems) == 3


def test_another_family_is_named(yesterday):
    report = keras_initx.audit(today(1, kernel="glorot_normal"), like=yesterday)
    assert {row.cause for row in report.problems} <= {
        "normal or truncated normal instead of uniform",
        "truncated normal instead of uniform",
    }
    assert len(report.problems) == 3


@pytest.mark.parametrize(
    ("actual", "expected", "cause"),
    [
        (
            keras_initx.RandomNormal(stddev=0.01),
            keras_initx.GlorotUniform(),
            "normal instead of uniform, which leaves a factor of 0.16",
        ),
        (keras_initx.RandomNormal(stddev=np.sqrt(2 / 512)), keras_initx.GlorotUniform(), "normal instead of uniform"),
        (
            keras_initx.RandomNormal(stddev=np.sqrt(2 / 256)),
            keras_initx.LecunUniform(),
            "normal instead of uniform, and He's scale",
        ),
        (
            keras_initx.RandomUniform(-0.05, 0.05),
            keras_initx.RandomNormal(stddev=0.05),
            "uniform instead of normal, and the standard deviation given as the bound",
        ),
        (
            keras_initx.RandomUniform(-1 / 16, 1 / 16),
            keras_initx.LecunUniform(),
            "the standard deviation given as the bound",
        ),
        (
            keras_initx.RandomUniform(-3 / 16, 3 / 16),
            keras_initx.LecunUniform(),
            "the bound given as the standard deviation",
        ),
        (
            keras_initx.RandomNormal(stddev=np.sqrt(6 / 512)),
            keras_initx.GlorotUniform(),
            "normal instead of uniform, and the bound given as the standard deviation",
        ),
    ],
)
def test_another_family_and_another_scale_are_two_statements(actual, expected, cause):
    values = to_numpy(actual.clone()((256, 256)))
    assert sole(audit({"a": values}, {"a": set_axes(expected)}))[1] == cause


def set_axes(initializer):
    config = initializer.get_config()
    axes = {"input_axes": [0], "output_axes": [1]} if "input_axes" in config else {}
    return type(initializer).from_config({**config, **axes})


def blocks(count, width=64):
    """Return a residual network of so many blocks, whose kernels are told apart by a deviation of a hundredth."""
    x = inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(50, width)(inputs)
    for number in range(count):
        y = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(2, width // 2, name=f"attention_{number}")(y, y)
        hidden = keras.layers.Dense(width, "gelu", name=f"up_{number}")(keras.layers.LayerNormalization()(x))
        x = x + keras.layers.Dense(width, name=f"down_{number}")(hidden)
    return keras.Model(inputs, keras.layers.Dense(50, name="head")(keras.layers.LayerNormalization()(x)))


@pytest.mark.parametrize("count", often([2, 3, 8], [2]))
@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize("by", ["recipe", "contract"])
def test_a_factor_of_depth_that_is_left_out_or_applied_twice_is_the_cause(count, times, by):
    model, branches = blocks(count), 2 * count
    keras_initx.initialize(model, "gpt2", seed=0)
    like = keras_initx.contract(model)
    std = 0.02 / branches ** (times / 2)
    for number in range(count):
        kernel = model.get_layer(f"down_{number}").kernel
        kernel.assign(keras.random.normal(kernel.shape, stddev=std, seed=number))
    report = keras_initx.audit(model, "gpt2") if by == "recipe" else keras_initx.audit(model, like=like)
    causes = {row.path: row.cause for row in report.problems}
    expected = f"factor 1/sqrt({branches}) for the depth applied twice"
    if times == 0:
        expected = f"factor 1/sqrt({branches}) for the depth left out"
        if by == "recipe":
            expected = f"depth scaling 1/sqrt({branches}) not applied"
    assert causes == {f"down_{number}/kernel": expected for number in range(count)}


def test_what_layers_declare_does_not_hide_a_factor_of_depth_that_is_left_out():
    keras.utils.set_random_seed(0)
    names = ["first", *(f"block_{n}_out" for n in range(6)), "last"]
    starts = [keras.initializers.RandomNormal(stddev=0.02) for _ in names]  # one object draws equal weights
    hidden = [layers.Dense(64, kernel_initializer=start, name=name) for start, name in zip(starts, names, strict=True)]
    model = keras.Sequential([keras.Input((64,)), *hidden])
    scaled = keras_initx.RandomNormal(stddev=0.02 / 6**0.5)
    plain, large = keras_initx.RandomNormal(stddev=0.02), keras_initx.RandomNormal(stddev=0.05)
    rules = {"block_*/kernel": scaled, "first/kernel": plain, "last/kernel": large, "*": None}
    report = keras_initx.audit(model, rules)
    assert {row.cause for row in report.problems if row.path != "last/kernel"} == {
        "as its layer declares: RandomNormal(stddev=0.02) or depth scaling 1/sqrt(6) not applied"
    }
