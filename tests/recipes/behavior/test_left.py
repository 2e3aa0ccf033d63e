"""A weight that a recipe does not know by its whole name or by the graph is left: values stay, and that is said."""

import pickle

import keras
import numpy as np
import pytest
import strangers
from decoders import decoder
from modes import often, to_numpy
from recipe_rows import ROWS

from keras_initx import audit, initialize, loading, recipes
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._named import RECIPES

layers, ops = keras.layers, keras.ops
REASON = "the recipe does not know its role"


@keras.saving.register_keras_serializable("left")
class Mixer(layers.Layer):
    """A layer of one's own, of which the names of weights end as those of Keras."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(2,), initializer="ones", name="dt_bias")
        self.log = self.add_weight(shape=(2,), initializer="ones", name="A_log")
        self.filter = self.add_weight(shape=(3, 2), initializer="ones", name="conv1d_kernel")
        self.scale = self.add_weight(shape=(2,), initializer="ones", name="fixed_scale", trainable=False)

    def call(self, x):
        return x * ops.mean(ops.exp(self.log) * self.filter + self.bias + self.scale)


NAMES = {"dt_bias", "A_log", "conv1d_kernel", "fixed_scale"}


def with_mixer(build):
    """Return the model of a function, of which the outputs go through a `Mixer`, with other values in it."""
    model = build()
    first, *others = keras.tree.flatten(model.outputs)
    return filled(keras.Model(model.inputs, [Mixer(name="mixer")(first), *others]))


def mixed_gpt():
    return with_mixer(lambda: decoder(0, blocks=1))


def filled(model):
    """Return a model with numbers in the weights of its `Mixer`."""
    for number, weight in enumerate(left_in(model).values()):
        weight.assign(np.full(weight.shape, 3.0 + number))
    return model


def left_in(model):
    """Return the weights of the `Mixer` in a model, by path."""
    return {weight.path: weight.variable for weight in Inventory(model).weights if weight.name in NAMES}


def values_in(model):
    return {path: to_numpy(variable.value) for path, variable in left_in(model).items()}


def assert_left(model, plan, before):
    """Check that the values of the `Mixer` are as before, and that the plan says why."""
    for path, value in values_in(model).items():
        np.testing.assert_array_equal(before[path], value)
    reasons = {weight.path: weight.detail for weight in plan.rows if weight.initializer is None}
    assert reasons == dict.fromkeys(before, REASON)
    assert [note for note in plan.notes if note.startswith("Left, since its role is not known: 'mixer/")]
    assert "(the recipe does not know its role)." in " ".join(str(plan).split())


# These know some of the weights here, or leave all others for a reason of their own.
OF_LAYERS = ("flax", "keras", "state_space", "torch")


@pytest.mark.parametrize("name", often([name for name in RECIPES if name not in OF_LAYERS], ["gpt2"]))
def test_every_recipe_leaves_what_it_does_not_know_and_demands_nothing_of_it(name):
    model = with_mixer(ROWS[name].model)
    before = values_in(model)
    assert len(before) == len(NAMES)
    rules = getattr(recipes, name)(model)
    assert set(rules.left) >= before.keys()
    assert_left(model, initialize(model, name, seed=0), before)
    report = audit(model, name, seed=0)
    assert report.ok
    reasons = {row.path: row.detail for row in report.rows if row.status == "not compared"}
    assert reasons == dict.fromkeys(before, REASON)
    assert f"The recipe does not know the role of {len(NAMES)} weights (mixer/" in report.summary


FORMS = {
    "name": lambda model: "gpt2",
    "function": lambda model: recipes.gpt2,
    "rules": recipes.gpt2,
    "listed": lambda model: ["gpt2"],
    "behind": lambda model: [{"*/query/kernel": None}, "gpt2"],
    "pickled": lambda model: pickle.loads(pickle.dumps(recipes.gpt2(model))),
    "inside": lambda model: lambda one: [{"*beta": "zeros"}, recipes.gpt2],
}


@pytest.mark.rare
@pytest.mark.parametrize("form", FORMS)
def test_it_is_left_in_every_form_of_the_rules(form):
    model = mixed_gpt()
    before = values_in(model)
    plan = initialize(model, FORMS[form](model), seed=0)
    for path, value in values_in(model).items():
        np.testing.assert_array_equal(before[path], value)
    assert sum(note.startswith("Left, ") for note in plan.notes) == 1
    assert plan.notes[0] == "Recognized in the graph of the model:"


def saved(model, folder):
    model.save(folder / "model.keras")
    return keras.models.load_model(folder / "model.keras")


def frozen(model, folder):
    model.trainable = False
    return model


def nested(model, folder):
    return keras.Sequential([keras.Input(model.input_shape[1:]), model])


def in_16_bits(model, folder):
    keras.config.set_dtype_policy("bfloat16")
    try:
        return filled(mixed_gpt())
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.rare
@pytest.mark.release_backends
@pytest.mark.parametrize("change", [pytest.param(saved, marks=pytest.mark.every_backend), frozen, nested, in_16_bits])
def test_it_is_left_in_models_that_are(change, tmp_path):
    model = change(mixed_gpt(), tmp_path)
    before = values_in(model)
    plan = initialize(model, "gpt2", seed=0)
    assert {weight.path for weight in plan.left} == before.keys()
    for path, value in values_in(model).items():
        np.testing.assert_array_equal(before[path], value)


class Alone(keras.Model):
    """A model that has all weights itself."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), initializer="ones", name="kernel")
        self.bias = self.add_weight(shape=(4,), initializer="ones", name="bias")
        self.other = self.add_weight(shape=(4,), initializer="ones", name="dt_bias")

    def call(self, x):
        return ops.selu(ops.matmul(x, self.kernel) + self.bias + self.other)


def test_a_model_with_weights_of_its_own_is_told_apart_by_whole_names():
    model = Alone()
    model(np.zeros((2, 8), "float32"))
    assert recipes.selu(model).left == ("dt_bias",)
    initialize(model, "selu", seed=0)
    assert [to_numpy(one).max() for one in (model.bias, model.other)] == [0, 1]


@pytest.mark.parametrize("place", ["in front", "behind"])
def test_a_rule_of_the_user_is_for_what_a_recipe_leaves(place):
    model = mixed_gpt()
    own = {"*/A_log": "zeros"}
    plan = initialize(model, [own, "gpt2"] if place == "in front" else ["gpt2", own], seed=0)
    assert not values_in(model)["mixer/A_log"].any()
    assert {weight.path for weight in plan.left} == values_in(model).keys() - {"mixer/A_log"}
    assert "A_log" not in str(plan.notes)


def test_a_saved_plan_leaves_the_same_and_draws_the_same(tmp_path):
    first, second = mixed_gpt(), mixed_gpt()
    before = values_in(second)
    initialize(first, "gpt2", seed=0).save(tmp_path / "plan.json")
    plan = initialize(second, tmp_path / "plan.json")
    assert {weight.path: weight.detail for weight in plan.left} == dict.fromkeys(before, REASON)
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))
    with pytest.raises(ValueError, match=f"'mixer/A_log', which is left unchanged: {REASON}"):
        plan.draw("mixer/A_log")


def test_loading_by_a_recipe_gives_it_its_former_values():
    model = mixed_gpt()
    before = values_in(model)
    with loading(model, "gpt2", seed=0) as loaded:
        pass
    assert {row.path for row in loaded.rows if row.status == "left"} == before.keys()
    for path, value in values_in(model).items():
        np.testing.assert_array_equal(before[path], value)


def test_weights_in_a_layer_of_a_known_name_count_by_their_own():
    tokens = keras.Input((6, 8))
    attended = layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
    inner = keras.Sequential([keras.Input((6, 8)), Mixer(name="position_embedding")], name="mlp")
    rules = recipes.vit_jax(keras.Model(tokens, inner(attended)))
    assert {path.rpartition("/")[2] for path in rules.left} == NAMES


def test_what_is_added_for_each_head_is_no_position():
    class Heads(layers.Layer):
        def build(self, shape):
            self.bias = self.add_weight(shape=(2, 10), initializer="ones", name="head_bias")

        def call(self, x):
            heads = ops.reshape(x, (-1, 6, 2, 10))
            return ops.reshape(heads + self.bias, (-1, 6, 20))

    model = decoder(0, blocks=1)
    model = keras.Model(model.inputs, Heads(name="heads")(model.output))
    assert recipes.gpt2(model).left == ("heads/head_bias",)


def test_factors_of_lora_are_known_and_end_no_branch():
    model = strangers.perceptron()
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            layer.enable_lora(2)
    before = recipes.zero_residual(strangers.perceptron())
    assert recipes.zero_residual(model).by_path == before.by_path
    plan = initialize(model, "zero_residual", seed=0)
    assert not plan.left
    assert not to_numpy(model.get_layer("b1").kernel).any()
