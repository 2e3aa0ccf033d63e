"""Contracts, and audits against contracts and other weights: what changed, and what did not."""

import json
import pathlib
import random

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx import recipes
from keras_initx.audits import Contract
from keras_initx.models import InitializationPlan
from keras_initx.testing import assert_initialized

DATA = pathlib.Path(__file__).parents[1] / "support" / "data"


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
    assert keras_initx.audit(build(1), like=contract).ok
    assert off(keras_initx.audit(build(2), like=contract)) == {
        "a/kernel": ("values", "distributed as before: another seed?")
    }


@pytest.mark.every_backend
def test_nothing_changed():
    contract = keras_initx.contract(lambda: network(dtype="bfloat16"), draws=2)
    report = keras_initx.audit(today(1, dtype="bfloat16"), like=contract)
    assert report.ok, report.problems
    assert not report.not_compared


def test_constants_are_compared_exactly(yesterday):
    report = keras_initx.audit(today(1, bias="ones"), like=yesterday)
    assert {row.evidence for row in report.problems} == {"all are 1 where they were 0"}
    report = keras_initx.audit(today(1, bias="random_normal"), like=yesterday)
    assert {row.verdict for row in report.problems} == {"values"}


@pytest.mark.parametrize(("depth", "are_seen"), [(8, True), (1, False)])
def test_weights_of_several_layers_are_judged_together(depth, are_seen):
    """A kernel with a scale 4 % off is too small to be seen, and eight are not."""
    contract = keras_initx.contract(lambda: network(keras_initx.RandomNormal(0, 0.1), depth=depth))
    report = keras_initx.audit(today(1, keras_initx.RandomNormal(0, 0.104), depth=depth), like=contract)
    assert len(report.problems) == depth * are_seen
    assert all("in 8 layers together" in row.evidence for row in report.problems)


def test_weights_that_are_new_missing_or_reshaped(yesterday):
    verdicts = off(keras_initx.audit(today(1, depth=4), like=yesterday))
    assert verdicts == {"hidden_3/kernel": ("new", ""), "hidden_3/bias": ("new", "")}
    verdicts = off(keras_initx.audit(today(1, depth=2), like=yesterday))
    assert verdicts == {"hidden_2/kernel": ("missing", ""), "hidden_2/bias": ("missing", "")}
    arrays = {"hidden_0/kernel": np.ones((64, 32), "float32")}
    report = keras_initx.audit(arrays, like=yesterday)
    assert report.problems[0].evidence == "(64, 32), and (64, 64) before"


def test_equal_weights_that_were_independent(yesterday):
    model = today(1)
    model.layers[1].kernel.assign(model.layers[0].kernel)
    assert off(keras_initx.audit(model, like=yesterday)) == {"hidden_1/kernel": ("equal weights", "")}


def test_equal_weights_of_the_contract_may_be_equal_and_must_be():
    def build(is_shared=True):
        model = network(depth=2)
        if is_shared:
            model.layers[1].kernel.assign(model.layers[0].kernel)
        return model

    contract = keras_initx.contract(build, draws=2)
    assert contract.equal == [["hidden_0/kernel", "hidden_1/kernel"]]
    assert keras_initx.audit(build(), like=contract).ok
    report = keras_initx.audit(build(is_shared=False), like=contract)
    assert [row.evidence for row in report.problems] == ["no longer equal to 'hidden_0/kernel'"]
    # Of several draws no digest is known.
    free = keras_initx.contract(lambda: build(is_shared=False), draws=2)
    assert keras_initx.audit(free, like=free).ok
    assert [row.path for row in keras_initx.audit(contract, like=free).problems] == ["hidden_1/kernel"]
    assert [row.path for row in keras_initx.audit(free, like=contract).problems] == ["hidden_1/kernel"]


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
    assert off(keras_initx.audit(model, like=yesterday)).keys() == {"hidden_0/kernel"}
    assert keras_initx.audit(model, like=yesterday).problems[0].verdict == "parts"


def test_lost_precision_and_values_that_are_not_finite(yesterday):
    model = today(1)
    kernel = to_numpy(model.layers[0].kernel)
    model.layers[0].kernel.assign((kernel.view("uint32") & 0xFFFF0000).view("float32"))
    kernel = to_numpy(model.layers[1].kernel).copy()
    kernel[0, 0] = np.nan
    model.layers[1].kernel.assign(kernel)
    assert off(keras_initx.audit(model, like=yesterday)) == {
        "hidden_0/kernel": ("precision", ""),
        "hidden_1/kernel": ("not finite", ""),
    }


def test_another_dtype_is_reported(yesterday):
    report = keras_initx.audit(today(1, dtype="bfloat16"), like=yesterday)
    assert {row.verdict for row in report.problems} == {"dtype"}


def test_sparse_and_recurrent_weights():
    def build(connections=5):
        sparse = keras_initx.Sparse(connections)
        return keras.Sequential(
            [keras.Input((4, 64)), layers.LSTM(16), layers.Dense(64, kernel_initializer=sparse, name="sparse")]
        )

    contract = keras_initx.contract(build)
    keras.utils.set_random_seed(7)
    assert keras_initx.audit(build(), like=contract).ok
    assert off(keras_initx.audit(build(connections=2), like=contract))["sparse/kernel"][0] == "connections"


def test_a_file_and_its_errors(yesterday, tmp_path):
    path = tmp_path / "weights.json"
    yesterday.save(path)
    again = Contract.load(path)
    assert str(again) == str(yesterday)
    assert again.weights == yesterday.weights
    assert keras_initx.audit(today(1), like=str(path)).ok
    assert keras_initx.audit(str(path), like=yesterday).ok
    earlier = {**json.loads(path.read_text()), "packages": {"keras": "3.15.1"}}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    assert Contract.load(tmp_path / "earlier.json").weights == yesterday.weights
    assert_initialized(today(1), like=path)
    with pytest.raises(AssertionError, match="3 of 12 weights are not as in the contract"):
        assert_initialized(today(1, kernel="zeros"), like=path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(ValueError, match="has version 3"):
        Contract.load(path)


def test_a_line_of_a_file_is_read_by_people(tmp_path):
    half = np.random.default_rng(0).uniform(-1, 1, (32, 32)).astype("float32")
    arrays = {"empty": np.zeros((0, 3), "float32"), "bias": np.zeros(9, "float32"), "copied": np.tile(half, 2)}
    keras_initx.contract(lambda: arrays, draws=1).save(tmp_path / "a.json")
    empty, bias, copied = (tmp_path / "a.json").read_text().splitlines()[6:9]
    assert empty == '  {"path": "empty", "shape": [0, 3], "dtype": "float32", "values": "(empty)"},'
    assert bias.startswith('  {"path": "bias", "shape": [9], "dtype": "float32", "values": "constant 0", "digest": ')
    assert '"values": "uniform", "mean": 0.02915, "std": 0.5716, "digest": ' in copied
    assert copied.endswith('"repeated": ["copies", "2 equal parts along axis 1"]}')


@pytest.mark.parametrize(
    ("name", "value"), [("values", "normal"), ("std", 0.2), ("shape", [64, 40]), ("dtype", "float16")]
)
def test_a_line_that_was_edited_is_refused(yesterday, tmp_path, name, value):
    yesterday.save(tmp_path / "edited.json")
    content = json.loads((tmp_path / "edited.json").read_text())
    content["weights"][2][name] = value
    (tmp_path / "edited.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"at weight 3, 'hidden_1/kernel': .*the line was changed"):
        Contract.load(tmp_path / "edited.json")


def test_a_line_without_numbers_and_numbers_without_a_line_are_refused(yesterday, tmp_path):
    yesterday.save(tmp_path / "cut.json")
    content = json.loads((tmp_path / "cut.json").read_text())
    (first, numbers), *others = content["numbers"].items()
    for changed, message in (
        ({"numbers": dict(others)}, f"at weight 1, '{first}'"),
        ({"numbers": {**content["numbers"], "gone": numbers}}, "has 'numbers' of 'gone', and no such line"),
    ):
        (tmp_path / "cut.json").write_text(json.dumps({**content, **changed}))
        with pytest.raises(ValueError, match=message):
            Contract.load(tmp_path / "cut.json")
    del content["numbers"]
    (tmp_path / "cut.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"must have the keys .* 'numbers'"):
        Contract.load(tmp_path / "cut.json")


def test_a_file_of_version_1_is_read(tmp_path):
    """Its lines have all numbers."""
    earlier = Contract.load(DATA / "contract_1.json")
    assert [weight.kind for weight in earlier.weights] == ["random", "constant", "unknown", "random", "fixed", "fixed"]
    assert earlier.weights[0].profile.quantiles[56] == -0.001480668
    earlier.save(tmp_path / "now.json")
    now = Contract.load(tmp_path / "now.json")
    assert (now.weights, now.equal, now.draws) == (earlier.weights, earlier.equal, earlier.draws)
    line = json.loads((DATA / "contract_1.json").read_text())["weights"][0]
    kernel = np.random.default_rng(0).normal(0, line["std"], (24, 16)).astype("float32")
    assert off(keras_initx.audit({"block/kernel": kernel}, like=earlier)).keys().isdisjoint({"block/kernel"})
    assert off(keras_initx.audit({"block/kernel": 2 * kernel}, like=now))["block/kernel"] == ("scale", "")


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
        report = keras_initx.audit(first, like=second)
        assert report.ok, (type(first), type(second), report.problems)
        assert len(report.weights) == 12


def test_what_two_versions_of_one_model_have_in_common_is_known(tmp_path):
    before, after = today(1), today(1)
    after.layers[1].kernel.assign(1.5 * after.layers[1].kernel)
    before.save(tmp_path / "before.keras")
    report = keras_initx.audit(after, like=str(tmp_path / "before.keras"))
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
    report = keras_initx.audit(model, like=contract)
    assert report.summary == ("1 of 12 weights is not as in the contract. The same bit for bit: 11 of 12.")


def test_tied_weights_of_a_dict():
    kernel = np.random.default_rng(0).normal(size=(64, 64)).astype("float32")
    other = np.random.default_rng(1).normal(size=(64, 64)).astype("float32")
    tied, free = {"a": kernel, "b": kernel}, {"a": kernel, "b": other}
    assert keras_initx.audit(tied, like=tied).ok
    assert off(keras_initx.audit(tied, like=free)) == {"b": ("equal weights", "")}
    assert off(keras_initx.audit(free, like=tied)) == {"b": ("equal weights", "")}


def test_weights_that_are_too_small_are_named(yesterday):
    assert "too few" not in keras_initx.audit(today(1), like=yesterday).summary
    small = keras_initx.contract(lambda: keras.Sequential([keras.Input((8,)), layers.Dense(8)]))
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8)])
    report = keras_initx.audit(model, like=small)
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
    assert keras_initx.audit(build(), like=contract).ok
    changed = keras_initx.audit({**build(), "mask": mask.T, "ids": np.arange(8) + 1}, like=contract)
    assert off(changed).keys() == {"mask", "ids"}


def test_arguments_that_are_refused(yesterday):
    with pytest.raises(ValueError, match="`seed` must be `None` with `like`"):
        keras_initx.audit({}, like=yesterday, seed=1)
    with pytest.raises(TypeError, match=r"`weights` must be a model or arrays .* passed as `like`"):
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


def test_what_is_no_weights_is_refused_as_like(tmp_path):
    one = {"a": np.zeros(9)}
    (tmp_path / "other.json").write_text('{"a": 1}')
    for given, message in {
        3: "`like` must be a Keras model, a path, or a dict",
        keras.initializers.HeNormal: r"`build\(\)` must be a Keras model, a path, or a dict",
        tmp_path / "other.json": r"`like` must be a file that `Contract.save` wrote; this one has no",
        tmp_path / "gone.json": "`like` must be an existing file",
        "weights.pt": "`like` must not be a pickle",
        "weights.keras": "`like` must be an existing file",
    }.items():
        with pytest.raises((TypeError, ValueError), match=message):
            keras_initx.audit(one, like=given)
    with pytest.raises(TypeError, match="may be it: like\\['model'\\]"):
        keras_initx.audit(one, like={"model": one, "epoch": 3})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model, and the paths of a plan of it and of a contract."""
    folder = tmp_path_factory.mktemp("files")
    model = network(depth=1)
    keras_initx.initialize(model, seed=0).save(folder / "plan.json")
    keras_initx.contract(model).save(folder / "contract.json")
    return model, folder / "plan.json", folder / "contract.json"


def test_what_weights_are_like_is_refused_as_rules(files):
    model, _, contract = files
    weights = [contract, str(contract), Contract.load(contract), model, "model.keras", ["a.npz", "b.npz"]]
    for given in (*weights, {"a": np.zeros(9)}, lambda: model, keras.Sequential, layers.Dense(3)):
        with pytest.raises(TypeError, match=r"`rules` must be rules, a recipe or a plan; .* passed as `like`"):
            keras_initx.audit(model, given)


def test_rules_are_refused_as_what_weights_are_like(files):
    model, plan, _ = files
    rules = [plan, str(plan), InitializationPlan.load(plan), {"*": "zeros"}, "gpt2", recipes.gpt2]
    for given in (*rules, lambda model: {"*": "zeros"}):
        with pytest.raises(TypeError, match=r"`like` must be a contract, weights .* passed as `rules`"):
            keras_initx.audit(model, like=given)


def test_both_questions_at_once_are_refused(files):
    model, plan, contract = files
    with pytest.raises(ValueError, match="`like` must be `None` with `rules`"):
        keras_initx.audit(model, plan, like=contract)
    with pytest.raises(ValueError, match="`like` must be `None` with `rules`"):
        assert_initialized(model, "gpt2", like=contract)


def test_a_function_is_a_builder_where_weights_are_like_others():
    report = keras_initx.audit(today(1), like=network)
    assert report.summary == "12 of 12 weights are as network makes them."
    other = keras_initx.audit(today(1), like=lambda: network(bias="ones"))
    assert other.summary == "3 of 12 weights are not as the function makes them."


def test_equal_weights_are_one_draw_of_those_that_are_judged_together():
    """Eight copies of a kernel that is 3 % off by chance are no eight kernels."""

    def build(scale=1.0):
        kernel = np.random.default_rng(random.getrandbits(32)).normal(0, scale, (32, 32))
        return {f"layers.{number}.weight": kernel.copy() for number in range(8)}

    contract = keras_initx.contract(build)
    keras.utils.set_random_seed(3)
    report = keras_initx.audit(build(1.06), like=contract)
    assert report.ok, report.problems


def test_another_gain_is_named(yesterday):
    start = keras.initializers.VarianceScaling(2.0, "fan_avg", "uniform")
    report = keras_initx.audit(today(1, kernel=start), like=yesterday)
    assert {(row.verdict, row.cause) for row in report.problems} == {("scale", "a gain of sqrt(2)")}
    assert len(report.problems) == 3


def test_another_family_is_named(yesterday):
    report = keras_initx.audit(today(1, kernel="glorot_normal"), like=yesterday)
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
    verdicts = {row.path: row.verdict for row in keras_initx.audit(model, like=yesterday).problems}
    assert verdicts == {"hidden_0/kernel": "equal slices", "hidden_1/kernel": "bounds"}
