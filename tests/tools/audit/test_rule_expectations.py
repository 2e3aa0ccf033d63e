"""Rules, recipes and layers say what weights should be."""

import keras
import numpy as np
import pytest
from audited import RULES, network, off
from keras import layers

import keras_initx
from keras_initx import recipes
from keras_initx.recipes._weight_rules import NOT_KNOWN, Left, WeightRules
from keras_initx.tools.audit._audit import audit_at


@pytest.mark.parametrize("dtype", [pytest.param("bfloat16", marks=pytest.mark.release_backends), "float32", "float16"])
def test_a_model_is_as_its_layers_and_as_its_rules_say(dtype):
    keras.utils.set_random_seed(1)
    model = network(dtype=dtype)
    assert keras_initx.audit(model).ok
    assert off(keras_initx.audit(model, RULES)) == {"hidden/kernel": "scale", "last/kernel": "scale"}
    keras_initx.initialize(model, RULES, seed=0)
    assert keras_initx.audit(model, RULES).ok
    assert off(keras_initx.audit(model)) == {"hidden/kernel": "scale", "last/kernel": "scale"}


def test_layers_with_fans_that_keras_does_not_know_are_right_in_both_ways():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 64)),
            layers.DepthwiseConv2D(3, depthwise_initializer="he_normal", name="depthwise"),
            layers.Conv2DTranspose(64, 4, strides=2, kernel_initializer="he_normal", name="up"),
        ]
    )
    assert keras_initx.audit(model).ok  # with the fans of the shape, by Keras
    rules = {"*kernel": "initx.he_normal", "*bias": "zeros"}
    problems = keras_initx.audit(model, rules).problems
    assert {row.path: row.status for row in problems} == {"depthwise/kernel": "scale", "up/kernel": "scale"}
    assert {row.cause for row in problems} == {"as its layer declares: HeNormal()"}
    keras_initx.initialize(model, seed=0)
    assert keras_initx.audit(model).ok  # with those of the layer
    assert keras_initx.audit(model, rules).ok


def test_a_layer_that_ignores_its_initializer_is_found():
    class Small(layers.Dense):
        def build(self, input_shape):
            super().build(input_shape)
            self._kernel.assign(0.1 * self._kernel)

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((48,)), Small(64, kernel_initializer="he_normal", name="small")])
    (row,) = keras_initx.audit(model).problems
    assert (row.path, row.status, round(row.ratio, 1)) == ("small/kernel", "scale", 0.1)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_quantized_weights_are_listed_whatever_rules_say_and_adapters_are_compared():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, name="a"), layers.Dense(64, name="b")])
    model.quantize("int8")
    rules = {"*lora_kernel_a": "initx.he_uniform", "*lora_kernel_b": "zeros", "*": "ones"}
    report = keras_initx.audit(model, {"*": "ones"})
    assert report.ok
    assert {row.detail for row in report.rows} == {"quantized"}
    for layer in model.layers:
        layer.enable_lora(8)
    keras_initx.initialize(model, {**rules, "*": None}, seed=0)
    model.layers[0].lora_kernel_a.assign(2 * model.layers[0].lora_kernel_a)
    report = keras_initx.audit(model, rules)
    assert off(report) == {"a/lora_kernel_a": "scale"}
    assert len(report.not_compared) == len(model.weights) - 4


def test_rules_are_matched_once():
    asked = []

    def kernels(weight):
        asked.append(weight.path)
        return weight.name == "kernel"

    report = keras_initx.audit(keras.Sequential([keras.Input((8,)), layers.Dense(4, name="a")]), {kernels: "zeros"})
    assert asked == ["a/kernel", "a/bias"]
    assert [(row.path, row.cause) for row in report.problems] == [
        ("a/kernel", "as its layer declares: GlorotUniform()")
    ]


@pytest.mark.rare
def test_a_recipe_says_how_a_model_should_be():
    model = keras.applications.MobileNet(weights=None, input_shape=(32, 32, 3), alpha=0.25)
    rules = recipes.mobilenet(model)
    report = keras_initx.audit(model, rules)
    kernels = [row for row in report.rows if row.path.endswith("kernel")]
    assert len(kernels) > 25
    assert {row.cause for row in report.problems} == {"as its layer declares: GlorotUniform()"}
    keras_initx.initialize(model, rules, seed=0)
    assert keras_initx.audit(model, rules).ok


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (("hidden/kernel",), " The recipe does not know the role of 1 weight (hidden/kernel)."),
        (
            ("hidden/kernel", "hidden/bias"),
            " The recipe does not know the role of 2 weights (hidden/kernel, hidden/bias).",
        ),
    ],
)
def test_a_weight_that_a_recipe_does_not_know_is_a_note_and_no_fault(left, text):
    report = keras_initx.audit(network(), [{"last/*": None}, WeightRules({path: Left(NOT_KNOWN) for path in left})])
    assert report.ok
    reasons = [row.detail for row in report.rows if row.path in left]
    assert reasons == ["the recipe does not know its role"] * len(left)
    assert text in report.summary


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_what_a_layer_declares_is_among_the_causes_where_another_fits_by_chance(alpha):
    declared = keras.initializers.VarianceScaling(1.548, "fan_in", "truncated_normal")
    up = layers.Conv2DTranspose(24, 3, name="up", kernel_initializer=declared)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 16)), up])
    (row,) = audit_at(alpha, model, {"*kernel": "initx.he_normal"}).problems
    assert row.cause == "as its layer declares: VarianceScaling(scale=1.548) or LeCun's scale"


def test_what_a_layer_declares_is_among_the_causes_of_weights_that_look_exchanged():
    """A rule with the deviations of two tables exchanged, which the layers have as they should."""
    tables = [
        layers.Embedding(300, 64, embeddings_initializer=keras.initializers.RandomNormal(0, std), name=name)
        for name, std in (("tokens", 0.01), ("places", 0.02))
    ]
    inputs = keras.Input((8,), dtype="int32")
    model = keras.Model(inputs, layers.add([table(inputs) for table in tables]))
    rules = {"tokens/*": keras_initx.RandomNormal(stddev=0.02), "places/*": keras_initx.RandomNormal(stddev=0.01)}
    causes = {row.path: row.cause for row in keras_initx.audit(model, rules).problems}
    assert causes == {
        "tokens/embeddings": "as its layer declares: RandomNormal(stddev=0.01) or swapped with 'places/embeddings'",
        "places/embeddings": "as its layer declares: RandomNormal(stddev=0.02) or swapped with 'tokens/embeddings'",
    }


class Drawn(keras.initializers.Initializer):
    """An initializer of a user, whose law is not known."""

    def __call__(self, shape, dtype=None):
        return keras.random.uniform(shape, -0.3, 0.3, dtype=dtype)


def test_an_initializer_of_a_user_that_a_layer_declares_is_a_cause_too():
    model = keras.Sequential([keras.Input((64,)), layers.Dense(64, kernel_initializer=Drawn(), name="own")])
    (row,) = keras_initx.audit(model, {"own/kernel": "initx.glorot_uniform"}).problems
    assert (row.status, row.cause) == ("scale", "as its layer declares: Drawn() or He's scale")


class Experts(layers.Layer):
    """A kernel for each of four experts, of which nothing says which axes are inputs."""

    def build(self, shape):
        self.kernel = self.add_weight((4, 32, 32), "zeros", name="kernel")

    def call(self, x):
        return keras.ops.mean(keras.ops.einsum("bh,eho->beo", x, self.kernel), 1)


@pytest.mark.parametrize("number", [1, 2])
def test_fans_that_are_guessed_are_noted_and_no_cause(number):
    model = keras.Sequential([keras.Input((32,)), *(Experts(name=name) for name in ("experts", "experts_1")[:number])])
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.kernel.assign(rng.uniform(-1, 1, (4, 32, 32)) * (6 / 64) ** 0.5)
    report = keras_initx.audit(model, {"*kernel": "initx.glorot_uniform"})
    assert {(row.status, row.cause) for row in report.problems} == {("scale", "")}
    where = "experts" if number == 1 else "experts* (2)"
    assert report.notes == [
        f"The fans in {where} are guessed from the shape: kernel has 128 inputs and 128 units. Remedy: pass "
        "`input_axes` and `output_axes` to the initializer."
    ]
    assert report.notes[0] in report.summary
    stated = keras_initx.GlorotUniform(input_axes=[1], output_axes=[2])
    right = keras_initx.audit(model, {"*kernel": stated})
    assert right.ok
    assert right.notes == keras_initx.audit(model).notes == []
