"""Faults that have been planted are named, where they are and no others; healthy networks have none."""

import keras
import numpy as np
import pytest
from asked import asked
from keras import initializers, layers
from modes import to_numpy

import keras_initx
from keras_initx.diagnostics.verdicts import RULES
from keras_initx.diagnostics.verdicts.focused_attention import AttentionProbe

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(256, 64)).astype("float32")
LABELS = GENERATOR.integers(0, 5, 256)
IMAGES = GENERATOR.normal(size=(16, 8, 8, 64)).astype("float32")
SEQUENCES = GENERATOR.normal(size=(32, 10, 16)).astype("float32")
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# Measurements are tested in test_measure.py, kinds of faults in test_cases.py.


def mlp(activation, kernel="glorot_uniform", depth=5, units=64, **arguments):
    """Return dense layers `hidden_1`, `hidden_2`... and `out`, whose kernels are made by `kernel` but for the last."""
    hidden = [
        layers.Dense(
            units, activation, kernel_initializer=initializers.get(kernel), name=f"hidden_{number}", **arguments
        )
        for number in range(1, depth + 1)
    ]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(5, name="out")])


def found(model, x=X, y=None, **arguments):
    """Return the verdicts by the name of the problem."""
    report = keras_initx.diagnose(model, x, y, loss=CROSSENTROPY, **arguments)
    assert report.ok == (not report.problems)
    levels = {rule.problem: rule.levels for rule in RULES}
    for verdict in report.verdicts:
        assert set(verdict.layers) <= {layer.name for layer in report.layers}
        assert verdict.level in levels[verdict.problem]
    return {verdict.problem: verdict for verdict in report.verdicts}


@pytest.mark.parametrize(("factor", "is_cause"), [(90, False), (110, True)])
def test_large_inputs_are_a_cause_of_what_explodes(factor, is_cause):
    model = mlp("relu")
    for layer in model.layers:
        layer.kernel.assign(10 * layer.kernel)
    remedy = found(model, factor * X)["exploding"].remedy.text
    assert remedy.startswith("standardize the inputs") == is_cause


OF_KERNELS = "{} in this and all earlier layers"
OF_RELU = 'keras_initx.Orthogonal(gain="relu") or keras_initx.HeNormal()'
EXPLODING = {
    "relu": ("relu", X, 3, OF_KERNELS.format(OF_RELU)),
    "tanh": ("tanh", X, 1e4, OF_KERNELS.format("keras_initx.Orthogonal() or keras_initx.GlorotUniform()")),
}


def cured(model, remedy):
    """Return `model` with the weights of a remedy."""
    if remedy.lsuv:
        keras_initx.lsuv(model, X, seed=0)
    else:
        keras_initx.initialize(model, {**remedy.rules, "*": None}, seed=0)
    return model


@pytest.mark.parametrize("name", EXPLODING)
def test_the_remedy_of_what_explodes_helps(name):
    activation, x, factor, remedy = EXPLODING[name]
    # So deep that only the right initializer keeps the signal.
    model = mlp(activation, depth=25)
    for layer in model.layers:
        layer.kernel.assign(factor * layer.kernel)
    applied = found(model, x)["exploding"].remedy
    assert applied.text == remedy
    assert found(cured(model, applied), x) == {}


@pytest.mark.parametrize(
    ("x", "size"),
    [
        (1e8 * X, "their standard deviation is 9.96e+07"),
        (1e6 + X, "their mean is 1e+06, their standard deviation is 0.997"),
    ],
    ids=["deviation", "mean"],
)
def test_the_remedy_of_inputs_that_explode_is_no_rule(x, size):
    remedy = found(mlp("relu", depth=25), x)["exploding"].remedy
    assert remedy.text == f"standardize the inputs ({size}), then {OF_RELU}"
    assert not remedy.weights
    kernels = {"*kernel": keras_initx.Orthogonal("relu"), "*": None}
    model = mlp("relu", depth=25)
    keras_initx.initialize(model, kernels, seed=0)
    assert found(model, (x - x.mean(axis=0)) / x.std(axis=0)) == {}


def test_lsuv_helps_where_initializers_do_not():
    # A layer without a kernel makes the signal ten times as large.
    model = keras.Sequential([keras.Input((64,))])
    for _ in range(5):
        model.add(layers.Dense(64, "tanh"))
        model.add(layers.Rescaling(10.0))
    model.add(layers.Dense(64))
    model.add(layers.Rescaling(1e3))
    model.add(layers.Dense(5))
    by_lsuv = found(model)["exploding"].remedy
    assert by_lsuv.text == "keras_initx.lsuv(model, x)"
    assert found(cured(model, by_lsuv)) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_inputs_that_are_not_finite_nothing_else_is_said(value):
    x = X.copy()
    x[3, 5] = value
    model = mlp("relu")
    model.layers[0].kernel.assign(0 * model.layers[0].kernel)
    (verdict,) = keras_initx.diagnose(model, x, np.ones(len(x)), loss="mse").verdicts
    assert (verdict.problem, verdict.level, verdict.layers[0]) == ("not finite", "error", "hidden_1")
    assert verdict.evidence == f"the inputs are not finite: 1 of {x.size} values are NaN or infinite"
    assert "numpy.nan_to_num(x)" in verdict.remedy.text


def test_a_model_may_replace_what_is_not_finite_itself():
    known = layers.Lambda(lambda x: keras.ops.where(keras.ops.isfinite(x), x, 0.0))
    x = X.copy()
    x[3, 5] = np.nan
    assert found(keras.Sequential([keras.Input((64,)), known, layers.Dense(5)]), x) == {}


def test_few_values_are_evaluated_only_if_they_are_not_finite():
    model = mlp("relu", depth=0)
    out = model.get_layer("out")
    out.kernel.assign(1e6 * out.kernel)
    assert "exploding" in found(model, X[:4])
    assert found(model, X[:3]) == {}
    out.kernel.assign(1e32 * out.kernel)
    assert "exploding" in found(model, 1e6 * X[:3])


def test_a_saturated_tanh_is_one_at_the_end_too():
    model = mlp("tanh", depth=1)
    large = keras_initx.RandomNormal(stddev=3.0)
    out = layers.Dense(5, "tanh", kernel_initializer=large, name="end")
    (verdict,) = found(keras.Sequential([*model.layers[:1], out]), X).values()
    assert (verdict.problem, verdict.layers) == ("saturated", ("end",))


def test_saturated_by_inputs():
    verdict = found(mlp("tanh", depth=1), 100 * X)["saturated"]
    assert "standardize the inputs" in verdict.remedy.text


@pytest.mark.parametrize(
    ("activation", "factor", "stddev", "problem"),
    [
        ("tanh", 100.0, 3.0, "saturated"),
        ("relu", 1e4, 10.0, "exploding"),
        ("tanh", 1e-5, 0.01, "vanishing"),
    ],
)
def test_inputs_that_the_model_standardizes_are_no_cause(activation, factor, stddev, problem):
    model = mlp(activation, keras_initx.RandomNormal(stddev=stddev, seed=0))
    model = keras.Sequential([keras.Input((64,)), layers.Rescaling(1 / factor), *model.layers])
    assert "standardize" not in found(model, factor * X)[problem].remedy.text


def test_an_activation_of_its_own_layer_is_that_of_the_layer_before():
    model = [layers.Dense(64), layers.ReLU(), layers.Dense(64), layers.Activation("selu"), layers.Dense(64)]
    model = keras.Sequential([keras.Input((64,)), *model])
    for layer, suggested in zip(model.layers[::2], ("HeNormal()", "LecunNormal()", "GlorotUniform()"), strict=True):
        weights = layer.kernel.numpy() if hasattr(layer.kernel, "numpy") else np.array(layer.kernel)
        layer.kernel.assign(0 * layer.kernel)
        assert found(model)["equal units"].remedy.text.startswith(f"random weights: keras_initx.{suggested}")
        layer.kernel.assign(weights)


def test_few_examples_do_not_tell_dead_units():
    model = mlp("relu", depth=1, bias_initializer=initializers.Constant(-10.0))
    assert "dead units" not in found(model, X[:8])


@pytest.mark.parametrize(("units", "problems"), [(4, []), (16, ["dead units"])])
def test_few_dead_units_of_a_gate_that_is_passed_by_are_chance(units, problems):
    inputs = keras.Input((64,))
    hidden = layers.Dense(64, "relu", kernel_initializer="he_normal")(inputs)
    gate = layers.Dense(units, "relu", bias_initializer=initializers.Constant(-10.0))(hidden)
    gate = layers.Dense(64, "sigmoid")(gate)
    model = keras.Model(inputs, layers.Dense(5)(layers.Multiply()([hidden, gate])))
    assert list(found(model, y=LABELS)) == problems


def test_what_vanishes_before_zeros_is_named_all_the_same():
    model = mlp("tanh", "initx.small_normal")
    model.get_layer("out").kernel.assign(np.zeros((64, 5)))
    verdicts = found(model, y=LABELS)
    assert list(verdicts) == ["vanishing", "equal units"]
    assert verdicts["vanishing"].layers == ("hidden_3", "hidden_4", "hidden_5")


def test_a_table_of_positions_may_have_equal_columns():
    angles = np.arange(20)[:, None] / 10000 ** (np.arange(32) / 8)
    table = layers.Embedding(20, 32, embeddings_initializer=initializers.Constant(np.cos(angles)))
    assert found(keras.Sequential([keras.Input((6,)), table]), GENERATOR.integers(0, 20, (32, 6))) == {}


def test_a_kernel_that_enlarges_has_identical_units_on_purpose():
    kernel = keras_initx.ICNR(keras.initializers.HeNormal(), scale=2)
    layer = layers.Conv2D(16, 3, kernel_initializer=kernel)
    assert found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES) == {}


class Noise(initializers.Initializer):
    """An initializer of a user."""

    def __call__(self, shape, dtype=None):
        return keras.random.normal(shape, seed=1)


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (initializers.HeNormal(seed=1), "HeNormal()"),
        (initializers.RandomNormal(stddev=0.2, seed=1), "RandomNormal(stddev=0.2)"),
        (keras_initx.Orthogonal(gain="tanh", seed=1), 'Orthogonal(gain="tanh")'),
        (keras_initx.Scaled(initializers.HeNormal(seed=1), 0.5), "Scaled(initializer=HeNormal(), factor=0.5)"),
        (Noise(), "GlorotUniform()"),  # what suits the layer
    ],
)
def test_twins_are_drawn_anew_as_their_layers_draw_them(kept, text):
    remedy = found(mlp("tanh", kept, depth=2))["twin tensors"].remedy
    assert f"different seeds: write keras_initx.{text} in each layer" in remedy.text
    assert {repr(rule).replace("'", '"') for rule in remedy.rules.values()} == {text}


def test_identities_are_no_twins():
    assert found(mlp("relu", "identity", depth=2)) == {}


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (layers.DepthwiseConv2D(3, depthwise_initializer="he_normal"), "input_axes=[0, 1], output_axes=[0, 1, 3]"),
        (layers.SeparableConv2D(8, 3), "input_axes=[0, 1], output_axes=[0, 1, 3]"),
        (
            layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.HeNormal()),
            "input_axes=[0, 1, 3], output_axes=[0, 1, 2]",
        ),
    ],
    ids=["depthwise", "separable", "transposed"],
)
def test_wrong_fan(layer, axes):
    verdicts = found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES)
    assert list(verdicts) == ["wrong fan"]
    assert verdicts["wrong fan"].layers == (layer.name,)
    assert axes in verdicts["wrong fan"].remedy.text


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv2D(3, depthwise_initializer=keras_initx.HeNormal(input_axes=[0, 1])),
        layers.DepthwiseConv2D(3, depthwise_initializer="random_normal"),
        layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.HeNormal(input_axes=[0, 1, 3])),
        # A unit sums a quarter of the inputs: both readings of He are right.
        layers.Conv2DTranspose(16, 4, 2, kernel_initializer="he_normal"),
        layers.Conv2DTranspose(16, 4, 2, kernel_initializer=keras_initx.HeNormal(input_axes=[0, 1, 3])),
        layers.Conv2DTranspose(8, 3),  # Glorot's mean of inputs and outputs is the same
        layers.Conv2D(8, 3, groups=4, kernel_initializer="he_normal"),
        # Those without a scale say nothing of a standard deviation.
        layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.Sparse()),
    ],
    ids=["depthwise", "given", "transposed", "strided", "strided, axes", "glorot", "grouped", "sparse"],
)
def test_right_fan(layer):
    assert found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES) == {}


# What no initializer keeps at one size in depth is scaled to the data.
SCALED = "keras_initx.lsuv(model, x), and train with Adam"
IN_DEPTH = {
    "relu": (OF_RELU, OF_KERNELS),
    "gelu": (SCALED, "{}"),
}


@pytest.mark.parametrize("activation", IN_DEPTH)
def test_what_vanishes_in_forty_layers_is_cured_by_its_remedy(activation):
    # Of Glorot's size, which is too small.
    model = mlp(activation, depth=40)
    verdicts = found(model, y=LABELS)
    assert list(verdicts) == ["vanishing", "vanishing gradient"]
    initializers, of_signals = IN_DEPTH[activation]
    assert verdicts["vanishing"].remedy.text == of_signals.format(initializers)
    of_gradients = SCALED if initializers == SCALED else f"{initializers} in all layers"
    assert verdicts["vanishing gradient"].remedy.text == of_gradients
    remedy = verdicts["vanishing gradient"].remedy
    for one in (remedy, *remedy.others):
        assert found(cured(model, one), y=LABELS) == {}


def test_what_vanishes_in_gradients_only_is_cured_by_its_remedy():
    remedy = found(mlp("hard_sigmoid", depth=20), y=LABELS)["vanishing gradient"].remedy
    assert remedy.text.startswith('activation="tanh" with keras_initx.GlorotUniform()')
    assert found(mlp("tanh", depth=20), y=LABELS) == {}


def test_before_an_activation_without_limits_normalization_is_the_remedy_of_a_vanishing_gradient():
    remedy = found(mlp("softplus", depth=20), y=LABELS)["vanishing gradient"].remedy
    assert remedy.text.startswith("keras.layers.BatchNormalization() before each softplus")


def test_a_network_that_widens_is_not_given_orthogonal_kernels():
    # With more units than inputs they shrink a signal.
    model = keras.Sequential([keras.Input((16,))])
    for _ in range(15):
        model.add(layers.Dense(64, "relu"))
        model.add(layers.Dense(16, "relu"))
    model.add(layers.Dense(5))
    verdicts = found(model, X[:, :16], LABELS)
    assert verdicts["vanishing"].remedy.text == OF_KERNELS.format("keras_initx.HeNormal()")
    assert found(cured(model, verdicts["vanishing"].remedy), X[:, :16], LABELS) == {}


def test_a_final_activation_of_its_own_layer_hides_no_vanishing_gradient():
    model = mlp("sigmoid", depth=8)
    end = [layers.Dense(1, name="end"), layers.Activation("sigmoid")]
    report = keras_initx.diagnose(keras.Sequential([*model.layers[:-1], *end]), X, LABELS > 2, loss="bce")
    assert "vanishing gradient" in [verdict.problem for verdict in report.verdicts]


def test_a_network_without_a_gradient_on_purpose_has_not_lost_it():
    inputs = keras.Input((64,))
    target = layers.Dense(8, name="target")(layers.Dense(64, "relu")(inputs))
    online = layers.Dense(8, name="online")(layers.Dense(64, "relu")(inputs))
    held = layers.Lambda(keras.ops.stop_gradient, output_shape=(8,))(target)
    assert keras_initx.diagnose(keras.Model(inputs, online - held), X, np.zeros((256, 8)), loss="mse").verdicts == []


def test_a_batch_of_one_is_the_cause_of_what_its_normalization_loses():
    stack = [layers.Dense(64), layers.BatchNormalization(name="norm"), layers.ReLU(), layers.Dense(5)]
    model = keras.Sequential([keras.Input((64,)), *stack])
    verdicts = found(model, X[:1], LABELS[:1])
    assert list(verdicts) == ["vanishing", "vanishing gradient"]
    for verdict in verdicts.values():
        assert verdict.remedy.text == "a batch of several examples, because norm normalizes over them"
    assert found(model, y=LABELS) == {}


@pytest.mark.parametrize("place", ["inside", "at the inputs"])
def test_a_small_side_branch_is_no_vanishing_gradient_inside_a_model(place):
    inputs = keras.Input((64,))
    hidden = layers.Dense(64, "tanh", name="hidden")(inputs)
    side = layers.Dense(64, name="side")(hidden if place == "inside" else inputs)
    model = keras.Model(inputs, layers.Dense(5)(hidden + 1e-8 * side))
    report = keras_initx.diagnose(model, X, LABELS, loss=CROSSENTROPY)
    norms = {layer.name: layer.gradient.norm for layer in report.layers}
    assert norms["side"] < 1e-6 * norms["hidden"]
    assert [verdict.layers for verdict in report.verdicts] == ([] if place == "inside" else [("side",)])


def test_targets_far_from_zero_are_the_cause_of_large_gradients():
    model, y = mlp("relu", depth=1), 2e5 + 8e4 * X[:, :5]
    report = keras_initx.diagnose(model, X, y, loss="mse")
    assert [verdict.problem for verdict in report.verdicts] == ["unscaled targets", "exploding"]
    assert report.verdicts[1].remedy.text == "standardized targets, or a bias of the last layer at their mean"
    assert keras_initx.diagnose(model, X, (y - y.mean()) / y.std(), loss="mse").verdicts == []


def test_targets_that_are_all_the_same_have_no_first_loss_to_compare_with():
    assert keras_initx.diagnose(mlp("relu", depth=1), X, np.ones((256, 5)), loss="mse").ok


@pytest.mark.parametrize(
    ("rows", "problems"),
    [((-6.0, 0.0), ["memory"]), ((0.0, -6.0), ["memory"]), ((6.0, -6.0), [])],
    ids=["of inputs", "recurrent", "both"],
)
def test_the_biases_of_a_gate_are_summed(rows, problems):
    gru = layers.GRU(8)
    model = keras.Sequential([keras.Input((10, 16)), gru])
    bias = np.zeros((2, 24))
    bias[:, :8] = np.reshape(rows, (2, 1))
    gru.cell.bias.assign(bias)
    assert list(found(model, SEQUENCES)) == problems


@pytest.mark.parametrize(
    ("kind", "bias", "problem"),
    [
        (layers.GRUCell, keras_initx.GRUUpdateBias(-6.0), "memory"),
        (layers.LSTMCell, initializers.Constant(2.0), "memory"),
    ],
    ids=["shut", "overwritten"],
)
def test_each_cell_of_a_stack_has_gates(kind, bias, problem):
    stack = layers.RNN([layers.LSTMCell(8), kind(8, bias_initializer=bias)], name="rnn")
    (verdict,) = found(keras.Sequential([keras.Input((10, 16)), stack]), SEQUENCES).values()
    assert (verdict.problem, verdict.layers) == (problem, ("rnn",))


def focuses(of):
    """Return the focus of each attention of a diagnosis."""
    return list(of.probe(AttentionProbe).focus.values())


def test_a_query_is_compared_with_the_keys_of_its_group():
    inputs, few = keras.Input((10, 16)), SEQUENCES[:4]
    model = keras.Model(inputs, layers.GroupQueryAttention(8, 4, 2)(inputs, inputs))
    kernels = {weight.path.split("/")[-2]: to_numpy(weight) for weight in model.weights if weight.name == "kernel"}
    queries, keys = (np.einsum("bpi,ihd->bphd", few, kernels[name]) for name in ("query", "key"))
    of_each_head = keys[:, :, [0, 0, 1, 1]]
    shares = np.exp(np.einsum("bqhd,bkhd->bhqk", queries, of_each_head) / 8**0.5)
    shares /= shares.sum(axis=-1, keepdims=True)
    (focus,) = asked(focuses, model, few)
    assert focus == pytest.approx(shares.max(axis=-1).mean(), rel=1e-4)


def test_attention_that_is_called_twice_has_the_focus_of_the_last_call():
    inputs = keras.Input((10, 16))
    attention = layers.MultiHeadAttention(2, 8)
    attended = attention(inputs, inputs)
    model = keras.Model(inputs, attention(0 * attended, 0 * inputs))
    (focus,) = asked(focuses, model, SEQUENCES)
    assert focus == pytest.approx(1 / 10)


def test_a_single_key_has_all_of_the_weight():
    inputs, source = keras.Input((10, 16)), keras.Input((1, 16))
    model = keras.Model([inputs, source], layers.MultiHeadAttention(2, 8)(inputs, source))
    assert found(model, [SEQUENCES, SEQUENCES[:, :1]]) == {}


def test_what_is_called_query_and_key_may_be_something_else():
    inputs = keras.Input((64,))
    query, key = (layers.Dense(8, name=name, kernel_initializer="he_normal")(inputs) for name in ("query", "key"))
    model = keras.Model(inputs, layers.Dense(5)(query * key))
    assert found(model) == {}
    assert asked(focuses, model, X) == []


def test_heads_that_do_not_fit_each_other_have_no_focus():
    class Heads(layers.Layer):
        def build(self, shape):
            self.query, self.key = (
                layers.EinsumDense("abc,cde->abde", (None, heads, 4), name=name)
                for name, heads in (("query", 3), ("key", 2))
            )
            self.query.build(shape)
            self.key.build(shape)

        def call(self, inputs):
            return keras.ops.concatenate([self.query(inputs), self.key(inputs)], axis=2)

    assert asked(focuses, keras.Sequential([keras.Input((10, 16)), Heads()]), SEQUENCES) == []


def test_inputs_that_are_alike_are_not_made_so_by_the_network():
    stack = [layers.Dense(16, name="first"), layers.LayerNormalization(name="norm"), layers.Dense(5)]
    model = keras.Sequential([keras.Input((10, 16)), *stack])
    assert found(model, np.tile(SEQUENCES[:1], (32, 1, 1))) == {}
    assert found(model, np.tile(SEQUENCES[:, :1], (1, 10, 1))) == {}


MATCHING = "a loss that matches the outputs (`from_logits=True` if there is no softmax)"
HIDDEN = "hidden_1/kernel, hidden_2/kernel and 1 more"
CLIPPED = "gradients that are clipped: global_clipnorm=1.0 in the optimizer"


def cubes(y, outputs):
    """A loss that is like none of Keras."""
    return 1e7 * keras.ops.mean(abs(y - outputs) ** 3)


def squares(y, outputs):
    return 1e7 * keras.losses.mean_squared_error(y, outputs)


@pytest.mark.parametrize(
    ("loss", "kernel", "remedy"),
    [
        (squares, "glorot_uniform", f"a loss without its factor of 1e+07, or {CLIPPED}"),
        (squares, keras_initx.Scaled("initx.he_normal", 2.0), f"smaller weights: {OF_RELU} in {HIDDEN}"),
        (cubes, "glorot_uniform", f"{MATCHING}, or a smaller loss, such as this one times a factor, or {CLIPPED}"),
        (cubes, keras_initx.Scaled("initx.he_normal", 2.0), f"{MATCHING}, or smaller weights: {OF_RELU} in {HIDDEN}"),
    ],
)
def test_large_gradients_of_usual_signals_are_a_warning(loss, kernel, remedy):
    model = mlp("relu", kernel, depth=3)
    verdict = keras_initx.diagnose(model, X, X[:, :5], loss=loss).verdicts[0]
    assert (verdict.problem, verdict.level, verdict.remedy.text) == ("exploding", "warning", remedy)


@pytest.mark.parametrize("x", [486 * X, 486 + X], ids=["deviation", "mean"])
def test_inputs_are_the_cause_of_large_gradients(x):
    model = mlp("relu", "he_normal", depth=3)
    unscaled, gradient, first_loss = keras_initx.diagnose(model, x, X[:, :5], loss="mse").verdicts
    assert unscaled.problem == "unscaled inputs"
    assert first_loss.problem == "large first loss"
    assert first_loss.remedy.text.startswith("standardize the inputs")
    assert (gradient.problem, gradient.level) == ("exploding", "warning")
    assert gradient.remedy.text == "standardize the inputs"
    standardized = (x - x.mean(axis=0)) / x.std(axis=0)
    assert keras_initx.diagnose(model, standardized, X[:, :5], loss="mse").verdicts == []


def test_what_is_ignored_is_a_problem():
    with pytest.raises(
        ValueError, match=r"`ignore` must be one of .*Received: ignore='vanish'; did you mean 'vanishing'"
    ):
        keras_initx.diagnose(mlp("tanh"), X, ignore=["vanish"])
    with pytest.raises(TypeError, match=r"`ignore` must be a list of names. Received: ignore='vanishing'"):
        keras_initx.diagnose(mlp("tanh"), X, ignore="vanishing")
