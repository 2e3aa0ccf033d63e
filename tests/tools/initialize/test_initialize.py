"""A whole model is drawn anew: by rules, from one seed, all or nothing."""

import ast
import copy
import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from drawn import Counting, build, row, trained
from modes import BACKEND, needs_axes, to_numpy
from stacks import arrays, assert_equal

import keras_initx
from keras_initx import initialize, weight_seed, weights_digest
from keras_initx.types import WeightPlan

layers = keras.layers


def test_without_a_seed_one_is_drawn_and_told():
    keras.utils.set_random_seed(5)
    model = build()
    first, second = initialize(model), initialize(model)
    assert first.seed != second.seed
    expected = arrays(model)
    initialize(model, seed=second.seed)
    assert_equal(arrays(model), expected)


@needs_axes
def test_attention_is_orthogonal_over_its_inputs():
    inputs = keras.Input((5, 16))
    model = keras.Model(inputs, layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs))
    initialize(model, {"attention/*/kernel": "initx.orthogonal"}, seed=0)
    query = arrays(model)["attention/query/kernel"].reshape(16, 8)
    np.testing.assert_allclose(query.T @ query, np.eye(8), atol=1e-5)


def test_keras_takes_the_deviation_before_truncation():
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    model = keras.Sequential([keras.Input((200,)), layers.Dense(100, kernel_initializer=initializer)])
    assert initialize(model, seed=0).rows[0].std == pytest.approx(0.0176, rel=0.02)


def test_a_dry_run_changes_nothing():
    model = trained(build())
    before, steps = arrays(model), int(model.optimizer.iterations)
    plan = initialize(model, seed=0, dry_run=True)
    assert_equal(arrays(model), before)
    assert int(model.optimizer.iterations) == steps
    assert plan.dry_run
    assert all(weight.std is None for weight in plan.rows)
    assert row(plan, "hidden/kernel").expected_std == pytest.approx(
        row(initialize(model, seed=0), "hidden/kernel").std, rel=0.2
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": keras.layers.Dense(2)}, TypeError, "`model` must be a Keras model"),
        ({"model": keras.Sequential([keras.layers.Dense(2)])}, ValueError, "`model` must be built"),
        ({"seed": -1}, ValueError, r"`seed` must be an integer in \[0, 2\*\*32\). Received: seed=-1"),
        ({"seed": 1.5}, TypeError, "`seed` must be an integer"),
        ({"dry_run": "yes"}, TypeError, "`dry_run` must be True or False"),
        ({"reset": 0}, TypeError, "`reset` must be True or False"),
        ({"atomic": None}, TypeError, "`atomic` must be True or False"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    model = arguments.pop("model", None) or build()
    with pytest.raises(error, match=message):
        initialize(model, **arguments)


def test_a_trained_model_is_as_new():
    model = trained(build())
    model.optimizer.learning_rate = 0.02
    fresh = build()
    initialize(fresh, seed=0)
    initialize(model, seed=0)
    assert weights_digest(model) == weights_digest(fresh)
    assert int(model.optimizer.iterations) == 0
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    slots = [to_numpy(variable.value) for variable in model.optimizer.variables[2:]]
    assert slots
    assert not any(slot.any() for slot in slots)
    dropout = next(layer for layer in model.layers if isinstance(layer, layers.Dropout))
    assert to_numpy(dropout.seed_generator.state.value).tolist() == [3, 0]


def test_training_state_can_be_kept():
    model = trained(build())
    initialize(model, seed=0, reset=False)
    assert int(model.optimizer.iterations) == 2


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="traces are counted on JAX")
def test_training_goes_on_without_another_trace():
    traces = []

    class Counted(layers.Layer):
        def call(self, x):
            traces.append(None)
            return x

    model = keras.Sequential([keras.Input((4,)), Counted(), layers.Dense(2)])
    model.compile("adam", "mse")
    x, y = np.ones((8, 4)), np.ones((8, 2))
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    before = len(traces)
    initialize(model, seed=0)
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    assert len(traces) == before


def test_the_plan_has_each_weight_as_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), Counting(name="counting")])
    rules = {"hidden/kernel": "he_normal", "hidden/bias": None}
    seed = weight_seed("hidden/kernel", 0)
    expected = [
        WeightPlan(
            "hidden/kernel",
            shape=(4, 3),
            dtype="float32",
            initializer="HeNormal()",
            fan_in=4,
            fan_out=3,
            expected_std=pytest.approx(0.5**0.5),
            seed=seed,
        ),
        WeightPlan("hidden/bias", shape=(3,), dtype="float32", initializer=None, detail="by rule"),
        WeightPlan("counting/count", shape=(), dtype="int32", initializer=None, detail="int32"),
    ]
    plan = initialize(model, rules, seed=0, dry_run=True)
    assert plan.rows == expected
    assert (plan.seed, plan.dry_run, plan.left) == (0, True, plan.rows[1:])
    lines = [" ".join(line.split()) for line in str(plan).splitlines()]
    assert lines[0] == "weight shape initializer fan in fan out expected seed"
    assert lines[2:] == [
        f"hidden/kernel (4, 3) HeNormal() 4 3 0.71 {seed}",
        "",
        "1 of 3 weights to be drawn, 2 left unchanged; seed 0.",
        "Left unchanged: hidden/bias (by rule), counting/count (int32).",
    ]
    plan = initialize(model, rules, seed=0)
    assert not plan.dry_run
    assert repr(plan) == "<InitializationPlan: 1 of 3 weights drawn, 2 left unchanged; seed 0>"
    std = pytest.approx(arrays(model)["hidden/kernel"].std(), rel=1e-5)
    expected[0] = replace(expected[0], std=std)
    assert plan.rows == expected


def blocks(*widths):
    """Return a network of blocks whose names differ in numbers, before a last layer."""
    stack = [
        keras.Sequential([layers.Dense(width, name="up"), layers.Dense(8)], name=f"block_{i}")
        for i, width in enumerate(widths)
    ]
    return keras.Sequential([keras.Input((8,)), *stack, layers.Dense(2, name="logits")])


def test_the_table_of_a_plan_has_no_range_where_a_deviation_is_not_finite(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    class InfiniteIfSquare(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, np.inf if shape[0] == shape[1] else 1.0, dtype)

    plan = initialize(blocks(8, 32), {"*/dense/kernel": InfiniteIfSquare()}, seed=0)
    (row,) = [line for line in str(plan).splitlines() if line.startswith("block*/dense/kernel (2)")]
    assert row.endswith("not finite")


def test_the_table_of_a_plan_has_a_row_for_weights_that_are_drawn_alike(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    plan = initialize(blocks(8, 8, 32), {"block_0/up/kernel": "zeros", "*/bias": None}, seed=0, dry_run=True)
    header, _, *rows = [" ".join(line.split()) for line in str(plan).splitlines()]
    assert header == "weight shape initializer fan in fan out expected seed"
    seeds_of = {weight.path: weight.seed for weight in plan.rows}
    assert rows == [
        "block_0/up/kernel (8, 8) Zeros() 8 8",
        "block*/dense/kernel (3) GlorotUniform() 8...32 8 0.22...0.35",
        "block*/up/kernel (2) GlorotUniform() 8 8...32 0.22...0.35",
        f"logits/kernel (8, 2) GlorotUniform() 8 2 0.45 {seeds_of['logits/kernel']}",
        "",
        "7 of 14 weights to be drawn (1 by your rules, 6 by their layers), 7 left unchanged; seed 0.",
        "Left unchanged: block_0/up/bias and 6 more (by rule).",
    ]
    assert len(plan.to_csv().splitlines()) == 15
    assert len(json.loads(plan.to_json())["weights"]) == 14


class Adapted(Counting):
    """Learns from data what it has, without being a layer of Keras that does."""

    def build(self, shape):
        self.size = self.add_weight(shape=(), initializer="ones", name="size")

    def adapt(self, data):
        pass


def test_what_a_users_layer_learns_from_data_is_left():
    model = keras.Sequential([keras.Input((3,)), Adapted(name="adapted"), layers.Dense(2)])
    assert row(initialize(model, seed=0), "adapted/size").detail == "adapted to data"


def test_layers_may_share_a_pattern_of_zeros():
    sparse = keras_initx.Sparse(2, seed=1)
    options = {"kernel_initializer": sparse, "kernel_constraint": keras_initx.KeepSparse(sparse)}
    model = keras.Sequential([keras.Input((6,)), *(layers.Dense(6, **options) for _ in range(2))])
    before = arrays(model)
    plan = initialize(model, seed=0)
    assert [weight.seed for weight in plan.rows] == [1, None, 1, None]
    assert_equal(arrays(model), before)


def small():
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="hidden")])


def on_the_meta_device():
    with keras.device("meta"):
        return small()


def with_other_parameters():
    model = small()
    parameters = model.layers[0].torch_params
    for name, parameter in list(parameters.items()):
        parameters[name] = parameter.detach().clone()
    return model


def with_distributed_tensors():
    model = small()
    value = model.layers[0].kernel.value
    value.full_tensor = value.clone  # as a `DTensor` has, which needs a process group
    return model


UNUSED = {
    "on the meta device": on_the_meta_device,
    "no parameter of its layer any more: torch has replaced it": with_other_parameters,
    "a `DTensor` of torch": with_distributed_tensors,
}


@pytest.mark.parametrize("reason", UNUSED)
def test_a_model_that_does_not_use_its_variables_is_refused(reason):
    model = UNUSED[reason]()
    with pytest.raises(ValueError, match=rf"`model` must use its weights\. .*'hidden/kernel' is {reason}"):
        initialize(model, seed=0)


def test_a_model_that_is_built_in_part_is_refused():
    import torch

    wrapped = layers.TorchModuleWrapper(torch.nn.Linear(8, 16))
    model = keras.Sequential([keras.Input((8,)), wrapped, layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`model` must be built: .* without all weights"):
        keras_initx.initialize(model, seed=0)
    model(np.ones((1, 8), "float32"))
    plan = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0)
    assert [row.fan_in for row in plan.rows if len(row.shape) > 1] == [8, 16]


@pytest.mark.parametrize(
    "initializer", [keras_initx.RandomNormal(stddev=1e5), keras_initx.Sparse(stddev=1e-9)], ids=["infinite", "zero"]
)
def test_a_dtype_that_cannot_hold_the_values_is_refused_before_anything_changes(initializer):
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="wide"), layers.Dense(3, dtype="float16", name="narrow")]
    )
    before = arrays(model)
    with pytest.raises(
        ValueError, match=r"`rules` must suit .* for 'narrow/kernel': `dtype` must be able to hold .*'float16'"
    ):
        keras_initx.initialize(model, {"*kernel": initializer}, seed=0, atomic=False)
    assert_equal(arrays(model), before)


@pytest.mark.skipif(not hasattr(layers, "ReversibleEmbedding"), reason="this Keras has no such layer")
def test_a_table_with_lora_that_gives_logits_too_is_known():
    table = layers.ReversibleEmbedding(30, 6, tie_weights=False, name="table")
    inputs = keras.Input((5,), dtype="int32")
    model = keras.Model(inputs, table(table(inputs), reverse=True))
    table.enable_lora(3)
    plan = initialize(model, seed=0)
    assert not plan.left
    assert {row.path.rpartition("/")[2]: row.initializer for row in plan.rows if row.std == 0} == {
        "lora_embeddings_b": "Zeros()"
    }


def gan(optimizers):
    part = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4), part])
    model.compile("adam", "mse", run_eagerly=True)
    if optimizers == "of a part":
        part.compile("adam", "mse", run_eagerly=True)
        used = part.optimizer
    else:
        used = keras.optimizers.Adam()
        model.others = {"in a tuple": (used,), "in a dict": {"part": used}}[optimizers]
    used.apply([keras.ops.ones(weight.shape) for weight in part.trainable_variables], part.trainable_variables)
    return model, used


@pytest.mark.parametrize("optimizers", ["in a tuple", "in a dict", "of a part"])
def test_all_optimizers_of_a_model_are_reset(optimizers):
    model, used = gan(optimizers)
    assert int(used.iterations) == 1
    keras_initx.initialize(model, seed=0)
    assert int(used.iterations) == 0
    assert all(not to_numpy(variable).any() for variable in used.variables if len(variable.shape) > 1)


PARAMETRIZED = {
    "weight norm": lambda torch: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(4, 3)),
    "spectral norm": lambda torch: torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(4, 3)),
    "orthogonal": lambda torch: torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 3)),
    "pruned": lambda torch: torch.nn.utils.prune.l1_unstructured(torch.nn.Linear(4, 3), "weight", 0.5),
}


@pytest.mark.skipif(BACKEND != "torch", reason="needs torch")
@pytest.mark.parametrize("kind", PARAMETRIZED)
def test_what_torch_computes_a_weight_from_is_refused_with_the_weight_in_use(kind):
    import torch
    import torch.nn.utils.prune

    module = torch.nn.Sequential(PARAMETRIZED[kind](torch))
    model = keras.Sequential([keras.Input((4,)), keras.layers.TorchModuleWrapper(module, name="net")])
    # Not `weight`: to read one with spectral norm changes it.
    before = copy.deepcopy({name: value for name, value in module.state_dict().items() if name != "0.bias"})
    with pytest.raises(ValueError, match=r"from which torch computes '0\.weight'") as error:
        initialize(model, {"*": "zeros"}, seed=0)
    (left,) = re.findall(r"write (\{.*: None\}) before other rules", str(error.value))
    rules = ast.literal_eval(left)
    assert f" for {next(iter(rules))!r}, the parameter" in str(error.value)
    assert str(error.value).endswith(". A rule may draw 'net/0.bias'")
    drawn = initialize(model, {**rules, "*": "zeros"}, seed=0, dry_run=True)
    assert len(drawn.left) == len(rules) == len(drawn.rows) - 1
    with pytest.raises(
        ValueError, match=r"matches none, since torch computes 'net/0\.weight' from 'net/0\..*'net/0\.bias'"
    ):
        initialize(model, {"net/0.weight": "he_normal"}, seed=0)
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())
    plan = initialize(model, {"net/0.bias": "ones"}, seed=0)
    assert module[0].bias.tolist() == [1, 1, 1]
    assert {weight.detail for weight in plan.left} == {"initializer unknown"}
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


class Mix(layers.Layer):
    """A layer of a user, with a kernel of three axes."""

    def build(self, shape):
        self.mixing = self.add_weight(shape=(4, shape[-1], 8), name="mixing")

    def call(self, inputs):
        return keras.ops.einsum("bi,hio->bo", inputs, self.mixing)


def test_fans_of_a_layer_of_ones_own_are_a_guess_which_the_plan_says_once():
    model = keras.Sequential([keras.Input((16,)), Mix(), layers.Dense(16), Mix()])
    guess = (
        "The fans in {} are guessed from the shape: mixing has 64 inputs and 32 units. Remedy: pass `input_axes` and "
        "`output_axes` to the initializer."
    )
    assert keras_initx.initialize(model, seed=0).notes == (guess.format("mix* (2)"),)
    assert keras_initx.initialize(model, {"mix/mixing": "zeros"}, seed=0).notes == (guess.format("mix_1"),)
    axes = keras_initx.HeNormal(input_axes=[1], output_axes=[0, 2])
    plan = keras_initx.initialize(model, {"*mixing": keras_initx.Scaled(axes, 0.5)}, seed=0)
    assert plan.notes == ()
    assert [(row.fan_in, row.fan_out) for row in plan.rows if row.path.endswith("mixing")] == [(16, 32)] * 2
    of_own_size = keras_initx.RandomNormal(stddev=0.02)
    assert keras_initx.initialize(model, {"*mixing": of_own_size}, seed=0).notes == ()


def test_a_plan_says_how_many_weights_no_rule_matched():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="hidden"), layers.Dense(2, name="head")])
    plan = initialize(model, {"head/kernel": "zeros"}, seed=0)
    assert plan.summary == "4 of 4 weights drawn (1 by your rules, 3 by their layers); seed 0."
    assert initialize(model, seed=0).summary == "4 of 4 weights drawn; seed 0."
    assert initialize(model, {"*": "zeros"}, seed=0).summary == "4 of 4 weights drawn; seed 0."
    assert (
        initialize(model, {"head/*": "zeros", "*": None}, seed=0).summary
        == "2 of 4 weights drawn, 2 left unchanged; seed 0."
    )
