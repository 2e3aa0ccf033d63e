"""Contracts, and audits against contracts and other weights: what changed, and what did not."""

import json
import random

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.audits import Contract
from keras_initx.testing import assert_initialized


def network(kernel="glorot_uniform", bias="zeros", depth=3, dtype=None, **options):
    hidden = []
    for number in range(depth):
        dense = layers.Dense(
            64,
            "relu",
            kernel_initializer=kernel,
            bias_initializer=bias,
            name=f"hidden_{number}",
            dtype=dtype,
            **options,
        )
        hidden.append(dense)
    last = layers.Dense(40, name="last", dtype=dtype)
    model = keras.Sequential([keras.Input((64,)), *hidden, layers.BatchNormalization(dtype=dtype), last])
    keras_initx.initialize(model)  # the same weights on every backend, from Python's `random`
    return model


@pytest.fixture(scope="module")
def yesterday():
    return keras_initx.contract(network)


def today(seed, *arguments, **options):
    keras.utils.set_random_seed(seed)
    return network(*arguments, **options)


def off(report):
    return {row.path: (row.verdict, row.cause) for row in report.problems}


def test_kinds_of_weights(yesterday):
    kinds = {weight.path: weight.text for weight in yesterday.weights}
    assert kinds["hidden_0/kernel"] == "uniform"
    assert kinds["hidden_0/bias"] == "constant 0"
    assert kinds["batch_normalization/gamma"] == "constant 1"
    assert yesterday.draws == 3


def test_a_plot_names_only_the_weights_that_it_shows(yesterday):
    (axis,) = yesterday.plot().axes
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names == ["hidden_0/kernel", "hidden_1/kernel", "hidden_2/kernel", "last/kernel"]


def test_several_draws_tell_fixed_weights_from_random_ones():
    def build():
        fixed = layers.Dense(64, kernel_initializer=keras.initializers.GlorotUniform(seed=1), name="fixed")
        drawn = layers.Dense(64, name="drawn")
        return keras.Sequential([keras.Input((64,)), fixed, drawn])

    kinds = {weight.path: weight.kind for weight in keras_initx.contract(build).weights}
    assert (kinds["fixed/kernel"], kinds["drawn/kernel"]) == ("fixed", "random")
    one = {weight.path: weight.kind for weight in keras_initx.contract(build, draws=1).weights}
    assert one["fixed/kernel"] == "random"


def test_another_fixed_seed_is_named():
    def build(seed):
        initializer = keras.initializers.GlorotUniform(seed=seed)
        return keras.Sequential([keras.Input((64,)), layers.Dense(64, kernel_initializer=initializer, name="a")])

    contract = keras_initx.contract(lambda: build(1), draws=2)
    assert keras_initx.audit(build(1), contract).ok
    assert off(keras_initx.audit(build(2), contract)) == {
        "a/kernel": ("values", "distributed as before: another seed?")
    }


@pytest.mark.every_backend
def test_nothing_changed():
    contract = keras_initx.contract(lambda: network(dtype="bfloat16"), draws=2)
    report = keras_initx.audit(today(1, dtype="bfloat16"), contract)
    assert report.ok, report.problems
    assert not report.not_compared


def test_constants_are_compared_exactly(yesterday):
    report = keras_initx.audit(today(1, bias="ones"), yesterday)
    assert {row.evidence for row in report.problems} == {"all are 1 where they were 0"}
    report = keras_initx.audit(today(1, bias="random_normal"), yesterday)
    assert {row.verdict for row in report.problems} == {"values"}


@pytest.mark.parametrize(("depth", "are_seen"), [(8, True), (1, False)])
def test_weights_of_several_layers_are_judged_together(depth, are_seen):
    """A kernel with a scale 4 % off is too small to be seen, and eight are not."""
    contract = keras_initx.contract(lambda: network(keras_initx.RandomNormal(0, 0.1), depth=depth))
    report = keras_initx.audit(today(1, keras_initx.RandomNormal(0, 0.104), depth=depth), contract)
    assert len(report.problems) == depth * are_seen
    assert all("in 8 layers together" in row.evidence for row in report.problems)


def test_weights_that_are_new_missing_or_reshaped(yesterday):
    verdicts = off(keras_initx.audit(today(1, depth=4), yesterday))
    assert verdicts == {"hidden_3/kernel": ("new", ""), "hidden_3/bias": ("new", "")}
    verdicts = off(keras_initx.audit(today(1, depth=2), yesterday))
    assert verdicts == {"hidden_2/kernel": ("missing", ""), "hidden_2/bias": ("missing", "")}
    arrays = {"hidden_0/kernel": np.ones((64, 32), "float32")}
    report = keras_initx.audit(arrays, yesterday)
    assert report.problems[0].evidence == "(64, 32), and (64, 64) before"


def test_equal_weights_that_were_independent(yesterday):
    model = today(1)
    model.layers[1].kernel.assign(model.layers[0].kernel)
    assert off(keras_initx.audit(model, yesterday)) == {"hidden_1/kernel": ("equal weights", "")}


def test_equal_weights_of_the_contract_may_be_equal_and_must_be():
    def build(is_shared=True):
        model = network(depth=2)
        if is_shared:
            model.layers[1].kernel.assign(model.layers[0].kernel)
        return model

    contract = keras_initx.contract(build, draws=2)
    assert contract.equal == [["hidden_0/kernel", "hidden_1/kernel"]]
    assert keras_initx.audit(build(), contract).ok
    report = keras_initx.audit(build(is_shared=False), contract)
    assert [row.evidence for row in report.problems] == ["no longer equal to 'hidden_0/kernel'"]
    # Of several draws no digest is known.
    free = keras_initx.contract(lambda: build(is_shared=False), draws=2)
    assert keras_initx.audit(free, free).ok
    assert [row.path for row in keras_initx.audit(contract, free).problems] == ["hidden_1/kernel"]
    assert [row.path for row in keras_initx.audit(free, contract).problems] == ["hidden_1/kernel"]


@pytest.mark.parametrize(("shape", "draws"), [((32, 16, 2, 2), 200), ((40_000, 4), 3)])
def test_few_columns_and_long_ones_are_not_called_orthonormal(shape, draws):
    for seed in range(draws):
        arrays = {"a": np.random.default_rng(seed).normal(size=shape)}
        assert keras_initx.contract(arrays).weights[0].text in ("normal", "random")


def test_parts_of_a_weight(yesterday):
    model = today(1)
    kernel = to_numpy(model.layers[0].kernel).copy()
    kernel[:, :16] *= 1.5
    kernel *= to_numpy(model.layers[0].kernel).std() / kernel.std()  # the scale of the whole is kept
    model.layers[0].kernel.assign(kernel)
    assert off(keras_initx.audit(model, yesterday)).keys() == {"hidden_0/kernel"}
    assert keras_initx.audit(model, yesterday).problems[0].verdict == "parts"


def test_lost_precision_and_values_that_are_not_finite(yesterday):
    model = today(1)
    kernel = to_numpy(model.layers[0].kernel)
    model.layers[0].kernel.assign((kernel.view("uint32") & 0xFFFF0000).view("float32"))
    kernel = to_numpy(model.layers[1].kernel).copy()
    kernel[0, 0] = np.nan
    model.layers[1].kernel.assign(kernel)
    assert off(keras_initx.audit(model, yesterday)) == {
        "hidden_0/kernel": ("precision", ""),
        "hidden_1/kernel": ("not finite", ""),
    }


def test_another_dtype_is_reported(yesterday):
    report = keras_initx.audit(today(1, dtype="bfloat16"), yesterday)
    assert {row.verdict for row in report.problems} == {"dtype"}


def test_sparse_and_recurrent_weights():
    def build(connections=5):
        sparse = keras_initx.Sparse(connections)
        return keras.Sequential(
            [keras.Input((4, 64)), layers.LSTM(16), layers.Dense(64, kernel_initializer=sparse, name="sparse")]
        )

    contract = keras_initx.contract(build)
    keras.utils.set_random_seed(7)
    assert keras_initx.audit(build(), contract).ok
    assert off(keras_initx.audit(build(connections=2), contract))["sparse/kernel"][0] == "connections"


def test_a_file_and_its_errors(yesterday, tmp_path):
    path = tmp_path / "weights.json"
    yesterday.save(path)
    again = Contract.load(path)
    assert str(again) == str(yesterday)
    assert again.weights == yesterday.weights
    assert keras_initx.audit(today(1), str(path)).ok
    assert keras_initx.audit(str(path), yesterday).ok
    earlier = {**json.loads(path.read_text()), "packages": {"keras": "3.15.1"}}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    assert Contract.load(tmp_path / "earlier.json").weights == yesterday.weights
    assert_initialized(today(1), path)
    with pytest.raises(AssertionError, match="3 of 12 weights are not as in the contract"):
        assert_initialized(today(1, kernel="zeros"), path)
    content = json.loads(path.read_text())
    content["weights"][0]["kind"] = "other"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="cannot be read at weight 1"):
        Contract.load(path)
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(ValueError, match="has version 2"):
        Contract.load(path)


@pytest.mark.every_backend
def test_weights_in_all_forms(yesterday, tmp_path):
    """Two draws in a model, a dict, a saved model, a file of arrays, and a contract."""
    one, other = today(1), today(2)
    forms = []
    for name, model in (("one", one), ("other", other)):
        paths = [weight.path for weight in yesterday.weights]
        arrays = {path: to_numpy(weight) for path, weight in zip(paths, model.weights, strict=True)}
        model.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", **arrays)
        saved, file = tmp_path / f"{name}.keras", str(tmp_path / f"{name}.npz")
        forms.append([model, arrays, saved, file, keras_initx.contract(model)])
    # Each form once on either side.
    for first, second in zip(forms[0], reversed(forms[1]), strict=True):
        report = keras_initx.audit(first, second)
        assert report.ok, (type(first), type(second), report.problems)
        assert len(report.weights) == 12


def test_what_two_versions_of_one_model_have_in_common_is_known(tmp_path):
    before, after = today(1), today(1)
    after.layers[1].kernel.assign(1.5 * after.layers[1].kernel)
    before.save(tmp_path / "before.keras")
    report = keras_initx.audit(after, str(tmp_path / "before.keras"))
    assert off(report).keys() == {"hidden_1/kernel"}
    assert len(report.unchanged) == 11
    assert report.summary.startswith("1 of 12 weights is not as in before.keras. The same bit for bit: 11 of 12.")


def test_rows_that_training_never_touched():
    """Of a table only the rows of words that occur change, and a layer that is frozen does not."""

    def build():
        return keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                layers.Embedding(50, 8, name="table"),
                layers.Flatten(),
                layers.Dense(8, trainable=False, name="frozen"),
                layers.Dense(2, name="last"),
            ]
        )

    model = build()
    plan = keras_initx.initialize(model, seed=0)
    model.compile("sgd", "mse")
    model.fit(np.arange(20).reshape(5, 4), np.ones((5, 2)), verbose=0)
    report = keras_initx.audit(model, plan)
    assert report.unchanged == ["frozen/kernel", "frozen/bias"]
    rows = {row.path: row.rows_unchanged for row in report.weights}
    assert rows["table/embeddings"] == 30
    assert report.summary.endswith("The same bit for bit: 2 of 5, and 30 rows of others.")
    assert keras_initx.audit(model, seed=0).unchanged == report.unchanged
    of_laws = keras_initx.audit(model)
    assert of_laws.unchanged == []
    assert "bit for bit" not in of_laws.summary


def test_a_contract_of_one_draw_knows_bits():
    model = today(1)
    contract = keras_initx.contract(model)
    model.layers[0].kernel.assign(to_numpy(model.layers[0].kernel) * 1.5)
    report = keras_initx.audit(model, contract)
    assert report.summary == ("1 of 12 weights is not as in the contract. The same bit for bit: 11 of 12.")


def test_tied_weights_of_a_dict():
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    other = np.random.default_rng(1).normal(size=(64, 64)).astype("float32")
    tied, free = {"a": kernel, "b": kernel}, {"a": kernel, "b": other}
    assert keras_initx.audit(tied, tied).ok
    assert off(keras_initx.audit(tied, free)) == {"b": ("equal weights", "")}
    assert off(keras_initx.audit(free, tied)) == {"b": ("equal weights", "")}


def test_weights_that_are_too_small_are_named(yesterday):
    assert "too few" not in keras_initx.audit(today(1), yesterday).summary
    small = keras_initx.contract(lambda: keras.Sequential([keras.Input((8,)), layers.Dense(8)]))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8)])
    report = keras_initx.audit(model, small)
    assert "1 weight (dense/kernel) has too few values: a change of scale by a factor of 1.2 may" in report.summary
    assert 1.3 < report.weights[0].resolution < 1.7


def test_generators_are_as_before():
    keras.utils.clear_session()  # old versions keep their global generator when they are seeded
    keras.utils.set_random_seed(5)
    expected = random.random(), to_numpy(keras.random.normal((3,))).tolist()
    keras.utils.clear_session()
    keras.utils.set_random_seed(5)
    keras_initx.contract(network, draws=1)
    assert (random.random(), to_numpy(keras.random.normal((3,))).tolist()) == expected


def test_draws_follow_from_the_seed():
    one = keras_initx.contract(network, draws=1, seed=1).to_json()
    assert keras_initx.contract(network, draws=1, seed=1).to_json() == one
    assert keras_initx.contract(network, draws=1, seed=2).to_json() != one


def test_masks_integers_and_empty_arrays():
    mask = np.triu(np.full((16, 16), -np.inf, "float32"), 1)

    def build():
        return {"mask": mask, "ids": np.arange(8), "empty": np.zeros((0, 3), "float32")}

    contract = keras_initx.contract(build, draws=2)
    assert [weight.kind for weight in contract.weights] == ["fixed", "fixed", "unknown"]
    assert keras_initx.audit(build(), contract).ok
    changed = keras_initx.audit({**build(), "mask": mask.T, "ids": np.arange(8) + 1}, contract)
    assert off(changed).keys() == {"mask", "ids"}


def test_arguments_that_are_refused(yesterday):
    with pytest.raises(ValueError, match="`seed` must be `None` with a contract"):
        keras_initx.audit({}, yesterday, seed=1)
    with pytest.raises(TypeError, match="`expected` must be a contract or other weights"):
        keras_initx.audit(yesterday)
    with pytest.raises(ValueError, match="`draws` must be a positive integer"):
        keras_initx.contract(network, draws=0)
    with pytest.raises(TypeError, match="`build` must be a function without arguments"):
        keras_initx.contract(lambda depth: network(depth=depth))
    with pytest.raises(TypeError, match="of a torch module"):
        keras_initx.contract(layers.Dense(3))
    with pytest.raises(ValueError, match="`build` must have at least one array"):
        keras_initx.contract({})
    with pytest.raises(ValueError, match="`build` must make the same weights each time"):
        keras_initx.contract(lambda: {str(random.getrandbits(32)): np.zeros(9)}, draws=2)
    with pytest.raises(ValueError, match="must be built"):
        keras_initx.contract(lambda: keras.Sequential([layers.Dense(3)]))


def test_what_weights_cannot_be_compared_with(tmp_path):
    one = {"a": np.zeros(9)}
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "cut.json").write_text('{"a": ')
    for given, message in {
        3: "`expected` must be rules, a recipe, a plan, a contract or weights",
        network: r"write `audit\(model, contract\(network\)\)`",
        keras.Sequential: r"write `audit\(model, contract\(Sequential\)\)`",
        (lambda: one): r"write `audit\(model, contract\(build\)\)`",
        (lambda model: 3): "`expected` must be a plan, a contract or other weights if `weights` are arrays",
        keras.initializers.HeNormal: r"`expected` must be rules, a recipe, a plan, a contract or weights\. Received",
        tmp_path / "other.json": "`Contract.save` or .* or one of weights; this one is none of these",
        str(tmp_path / "cut.json"): "`Contract.save` or .* or one of weights; this one is not JSON",
        "weights.pt": "`expected` must not be a pickle",
        "weights.keras": "`expected` must be an existing file",
    }.items():
        with pytest.raises((TypeError, ValueError), match=message):
            keras_initx.audit(one, given)
    with pytest.raises(TypeError, match="may be it: expected\\['model'\\]"):
        keras_initx.audit(one, {"model": one, "epoch": 3})


def test_equal_weights_are_one_draw_of_those_that_are_judged_together():
    """Eight copies of a kernel that is 3 % off by chance are no eight kernels."""

    def build(scale=1.0):
        kernel = np.random.default_rng(random.getrandbits(32)).normal(0, scale, (32, 32))
        return {f"layers.{number}.weight": kernel.copy() for number in range(8)}

    contract = keras_initx.contract(build)
    keras.utils.set_random_seed(3)
    report = keras_initx.audit(build(1.06), contract)
    assert report.ok, report.problems


def test_another_gain_is_named(yesterday):
    start = keras.initializers.VarianceScaling(2.0, "fan_avg", "uniform")
    report = keras_initx.audit(today(1, kernel=start), yesterday)
    assert {(row.verdict, row.cause) for row in report.problems} == {("scale", "a gain of sqrt(2)")}
    assert len(report.problems) == 3


def test_another_family_is_named(yesterday):
    report = keras_initx.audit(today(1, kernel="glorot_normal"), yesterday)
    assert {row.cause for row in report.problems} <= {
        "normal or truncated normal instead of uniform",
        "truncated normal instead of uniform",
    }
    assert len(report.problems) == 3


def test_equal_heads_and_single_values_out_of_bounds_are_found(yesterday):
    model = today(1)
    first, second = to_numpy(model.layers[0].kernel).copy(), to_numpy(model.layers[1].kernel).copy()
    first[:, 7] = first[:, 9]
    second[0, 5] = 3 * np.abs(second).max()
    model.layers[0].kernel.assign(first)
    model.layers[1].kernel.assign(second)
    verdicts = {row.path: row.verdict for row in keras_initx.audit(model, yesterday).problems}
    assert verdicts == {"hidden_0/kernel": "equal slices", "hidden_1/kernel": "bounds"}
