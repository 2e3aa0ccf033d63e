"""Factors of muP: of each optimizer, for weights that are not plain matrices and for tied logits."""

import functools
import inspect

import keras
import numpy as np
import pytest
from modes import to_numpy
from scripts import script

from keras_initx import Spectral, initialize, recipes, scaling

layers, ops = keras.layers, keras.ops


def factors(model, base):
    return {weight.path: (weight.std, weight.adam, weight.sgd) for weight in scaling.mup(model, base).rows}


def convolutions(width):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 1, name="first")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(width, 3, groups=width // 4, name="grouped")(x)
    x = layers.SeparableConv2D(width, 3, name="separable")(x)
    return keras.Model(inputs, layers.Dense(4, name="last")(layers.GlobalAveragePooling2D()(x)))


def test_a_unit_of_a_depthwise_or_grouped_convolution_has_the_inputs_of_its_window():
    found = factors(convolutions(32), convolutions(8))
    assert found["first/kernel"] == (1, 1, 4)
    assert found["depthwise/kernel"] == (1, 1, 4)
    assert found["grouped/kernel"] == (1, 1, 4)
    assert found["separable/depthwise_kernel"] == (1, 1, 4)
    assert found["separable/pointwise_kernel"] == (0.5, 0.25, 1)
    assert found["last/kernel"] == (0.25, 0.25, 0.25)


def test_the_table_has_what_is_up_to_the_model():
    transformer = script("widths").transformer  # whose data is scikit-learn's
    table = scaling.mup(transformer(64), transformer(32))
    assert [weight.path for weight in table.rows if weight.tied != 1] == ["embedding/embeddings"]
    assert table.rows[0].tied == 0.5
    found = {weight.path: (weight.std, weight.adam) for weight in table.rows}
    assert found["block_1_dense_2/kernel"] == found["block_0_dense_2/kernel"] == (pytest.approx(0.5**0.5), 0.5)
    assert "muon  tied\n" in str(table)


# Without what hides the size of gradients or the size of steps: epsilons and decay.
OPTIMIZERS = {
    "SGD": functools.partial(keras.optimizers.SGD, 0.1),
    "Adam": functools.partial(keras.optimizers.Adam, 0.01, epsilon=1e-12),
}
HAS_MUON = "rms_rate" in inspect.signature(keras.optimizers.Muon).parameters
if HAS_MUON:
    muon = functools.partial(keras.optimizers.Muon, 0.01, weight_decay=None, adam_weight_decay=None, epsilon=1e-12)
    OPTIMIZERS["Muon"] = muon
    OPTIMIZERS["Muon but for the last"] = functools.partial(muon, rms_rate=None, exclude_layers=["last"])
X = np.random.default_rng(0).normal(size=(64, 16)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")


def product(targets, outputs):
    """Return a loss whose gradient does not depend on the outputs, which are not alike before training."""
    return keras.ops.mean(targets * outputs, axis=-1)


def gradients(model):
    """Return the gradients of a batch, from a step of SGD that is taken back."""
    before = [to_numpy(variable.value).copy() for variable in model.trainable_variables]
    # In a compiled step, TensorFlow sometimes updates a kernel before the backward pass has read it.
    model.compile(keras.optimizers.SGD(1.0), product, run_eagerly=True)
    model.train_on_batch(X, Y)
    found = []
    for variable, value in zip(model.trainable_variables, before, strict=True):
        found.append(value - to_numpy(variable.value))
        variable.assign(value)
    return found


def exponent(sizes, changes):
    """Return the power of the size with which a change grows."""
    return np.polyfit(np.log(sizes), np.log(changes), 1)[0]


def size(values):
    return np.sqrt(np.mean(np.square(values)))


WIDTHS = [64, 128, 256, 512]


@pytest.fixture(scope="module")
def wider():
    """Return networks of each width, with the inputs of each layer, the gradients, and the table."""

    def network(width):
        hidden = [layers.Dense(width, "relu", name=name) for name in ("first", "second")]
        return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(4, name="last")])

    found = []
    for width in WIDTHS:
        model = network(width)
        initialize(model, recipes.spectral(model), seed=0)
        inputs = [X]
        for layer in model.layers:
            inputs.append(to_numpy(layer(inputs[-1])))
        found.append((model, inputs, gradients(model), scaling.mup(model, network(WIDTHS[0]))))
    return found


@pytest.mark.rare
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_step_changes_what_each_weight_adds_alike_at_all_widths(name, wider):
    changes = []
    for model, inputs, of_loss, table in wider:
        changes.append([])
        rates = table.learning_rates(OPTIMIZERS[name]())
        for place, (variable, gradient, rate) in enumerate(zip(model.trainable_variables, of_loss, rates, strict=True)):
            optimizer = OPTIMIZERS[name]()
            optimizer.learning_rate = float(optimizer.learning_rate) * rate
            before = to_numpy(variable.value).copy()
            optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
            change = to_numpy(variable.value) - before
            variable.assign(before)
            changes[-1].append(size(inputs[place // 2] @ change if change.ndim == 2 else change))
    assert np.abs([exponent(WIDTHS, line) for line in np.transpose(changes)]).max() < 0.1


@pytest.mark.skipif(not HAS_MUON, reason="this Keras has another rule")
def test_a_bias_with_an_axis_of_heads_keeps_the_rate_of_muon():
    table = scaling.mup(attention(4, 8), attention(2, 8))
    rates = dict(zip([weight.path for weight in table.rows], table.learning_rates(muon()), strict=True))
    assert rates["attention/query/bias"] == rates["attention/attention_output/bias"] == 1
    assert rates["attention/query/kernel"] == rates["last/kernel"] == 0.5


@pytest.mark.skipif(not HAS_MUON, reason="this Keras has another rule")
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("net", {}, 0.5),
        ("sentence_embedding", {}, 0.25),
        ("sentence_embedding", {"exclude_embeddings": False}, 0.5),
        ("classifier", {"exclude_layers": ["^classifier/"]}, 0.25),
    ],
)
def test_muon_leaves_a_weight_to_adam_by_its_path_with_the_name_of_the_model(name, options, expected):
    def network(width):
        dense = [layers.Dense(size, name=layer) for size, layer in ((width, "a"), (width, "h"), (3, "o"))]
        return keras.Sequential([keras.Input((5,)), *dense], name=name)

    model = network(64)
    table = scaling.mup(model, network(16))
    optimizer = keras.optimizers.Muon(0.01, **options)
    factors = table.learning_rates(optimizer)
    optimizer.build(model.trainable_variables)
    # Only weights that Adam trains have a velocity.
    is_left = optimizer.adam_velocities[2] is not None
    assert is_left == (expected == 0.25)
    assert factors[2] == expected
    if not options:
        assert table.rows[2].muon == table.learning_rates("muon")[2] == expected


class MyMuon(keras.optimizers.Muon):
    """A Muon of a user, which leaves all to Adam."""

    def _should_use_adamw(self, variable):
        return True


@pytest.mark.skipif(not HAS_MUON, reason="this Keras has another rule")
def test_a_muon_of_a_user_is_asked_what_it_leaves_to_adam():
    table = scaling.mup(stack(32, 32), stack(8, 8))
    assert table.learning_rates(MyMuon()) == table.learning_rates("adam") != table.learning_rates("muon")


class MyAdam(keras.optimizers.Adam):
    """An optimizer of a user."""


def test_the_class_of_an_optimizer_decides_which_factors_it_has():
    table = scaling.mup(stack(32), stack(8))
    for optimizer in (MyAdam(), "adam", "adamw", "nadam", "adamax", "lion", "rmsprop"):
        assert table.learning_rates(optimizer) == [1, 1, 0.25, 1], optimizer
    assert table.learning_rates(keras.optimizers.SGD()) == table.learning_rates("sgd") == [4, 4, 0.25, 1]


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        ("adagrad", "optimizer='adagrad', whose accumulator starts with a number"),
        (keras.optimizers.Adafactor(), "Adafactor.*, whose steps follow the size of a weight"),
        (keras.optimizers.Lamb(), "Lamb.*, whose steps follow the norm of a weight"),
        ("newton", "optimizer='newton'$"),
        (keras.optimizers.Optimizer(0.1), "Received: optimizer=<.*>$"),
    ],
)
def test_an_optimizer_without_a_rule_is_refused(optimizer, reason):
    with pytest.raises(ValueError, match=rf"`optimizer` must be one of \('sgd', .*{reason}"):
        scaling.mup(stack(8), stack(8)).learning_rates(optimizer)


@pytest.mark.skipif(HAS_MUON, reason="this Keras has the rule")
def test_muon_of_an_older_keras_is_refused():
    with pytest.raises(ValueError, match=r"another rule before Keras 3\.13"):
        scaling.mup(stack(8), stack(8)).learning_rates("muon")


class TiedLogits(layers.Layer):
    """Multiplies by the weights of an embedding."""

    def __init__(self, embedding):
        super().__init__(name="logits")
        self.embedding = embedding

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.embedding.embeddings))


def words(width, kind, units, **options):
    """Return a model with 20 words, whose logits use their embedding where there are no units."""
    tokens = keras.Input((5,), dtype="int32")
    embedding = kind(20, width, name="words", **options)
    x = layers.Dense(width, name="hidden")(embedding(tokens))
    last = layers.Dense(units, name="last") if units else TiedLogits(embedding)
    return keras.Model(tokens, last(x))


@pytest.mark.parametrize(
    ("units", "widths", "factor"),
    [
        (None, (32, 16), 0.5),
        (20, (32, 16), 1),
        (8, (32, 16), 1),
        # As many units of the layer before as words, in one of the models only.
        (None, (20, 10), 0.5),
    ],
)
def test_an_embedding_is_tied_where_each_word_has_a_logit_and_no_kernel_gives_it(units, widths, factor):
    table = scaling.mup(*(words(width, layers.Embedding, units) for width in widths))
    assert table.rows[0].tied == factor
    assert ("tied:" in str(table)) == (factor != 1)


class Positions(layers.Layer):
    """Adds an embedding of places."""

    def __init__(self, width):
        super().__init__(name="places")
        self.positions = layers.Embedding(16, width, name="positions")

    def build(self, shape):
        self.positions.build(None)

    def call(self, x):
        return x + self.positions(keras.ops.arange(16))


def test_positions_of_a_vision_transformer_are_not_tied():
    def network(width):
        images = keras.Input((8, 8, 3))
        x = layers.Reshape((16, width))(layers.Conv2D(width, 2, 2, name="patches")(images))
        x = Positions(width)(x)
        return keras.Model(images, layers.Dense(10, name="last")(layers.GlobalAveragePooling1D()(x)))

    table = scaling.mup(network(32), network(16))
    assert [weight.tied for weight in table.rows] == [1] * 5
    assert "tied" not in str(table)


class OfWords(keras.Model):
    """A subclass, of whose outputs nothing is known without a call."""

    def __init__(self, width):
        super().__init__()
        self.words = layers.Embedding(20, width, name="words")

    def call(self, tokens):
        return self.words(tokens)


def test_whether_logits_use_an_embedding_of_a_subclass_is_not_known():
    models = [OfWords(width) for width in (32, 16)]
    for model in models:
        model(np.zeros((1, 5), "int32"))
    table = scaling.mup(*models)
    assert np.isnan(table.rows[0].tied)
    assert str(table).endswith("It is not known whether logits use words/embeddings. If they do, multiply them by 0.5.")


@pytest.mark.skipif(not hasattr(layers, "ReversibleEmbedding"), reason="this Keras has no such layer")
@pytest.mark.parametrize(("is_tied", "factor"), [(True, 0.5), (False, 1)])
def test_a_reversible_embedding_says_whether_it_is_tied(is_tied, factor):
    networks = [words(width, layers.ReversibleEmbedding, 8, tie_weights=is_tied) for width in (32, 16)]
    table = scaling.mup(*networks)
    assert table.rows[0].tied == factor
    assert ("tied" in str(table)) == is_tied
    roles = {weight.path: (weight.role, weight.adam) for weight in table.rows}
    assert is_tied or roles["words/reverse_embeddings"] == ("output", 0.5)


def attention(heads, head_size):
    x = keras.Input((4, heads * head_size))
    y = layers.MultiHeadAttention(heads, head_size, name="attention")(x, x)
    return keras.Model(x, layers.Dense(3, name="last")(y))


def stack(*sizes):
    dense = (layers.Dense(size) for size in sizes)
    return keras.Sequential([keras.Input((8,)), *dense, layers.Dense(3, name="last")])


def test_spectral_weights_follow_the_table_of_mup():
    plans = [initialize(stack(width, width), recipes.spectral, seed=0, dry_run=True) for width in (64, 16)]
    wide, narrow = ({weight.path: weight.expected_std for weight in plan.rows} for plan in plans)
    weights = scaling.mup(stack(64, 64), stack(16, 16)).rows
    kernels = [weight for weight in weights if weight.path.endswith("kernel")]
    assert len(kernels) == 3
    for kernel in kernels:
        assert wide[kernel.path] == pytest.approx(kernel.std * narrow[kernel.path])


class Codebook(layers.Layer):
    """Rows that inputs are compared with: they are used transposed."""

    def __init__(self, width):
        super().__init__(name="codebook")
        self.width = width

    def build(self, shape):
        self.entries = self.add_weight((7, self.width), "glorot_uniform", name="entries")

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.entries))


def with_codebook(width):
    parts = [layers.Dense(width, "relu", name="first"), layers.Dense(width, name="second"), Codebook(width)]
    return keras.Sequential([keras.Input((5,)), *parts])


def test_axes_that_are_guessed_are_noted_as_such():
    table = scaling.mup(with_codebook(64), with_codebook(16))
    assert [weight.path for weight in table.rows if weight.is_guess] == ["codebook/entries"]
    assert "Guessed from the shape: 'codebook/entries'. The last axis counts as the units" in str(table)
    assert "guess" not in str(scaling.mup(stack(64), stack(16)))


def test_a_base_with_other_weights_is_refused():
    with pytest.raises(ValueError, match=r"the same weight paths as `model`.* has no 'dense_1/bias'"):
        scaling.mup(stack(16), stack(8, 8))


def test_a_weight_that_is_a_matrix_in_one_model_only_is_refused():
    message = r"of the same rank as `model`. Received: 'mix/kernel' of shape \(8, 2, 4\) and \(8, 16\)"
    base = layers.EinsumDense("ab,bcd->acd", (2, 4), name="mix")
    with pytest.raises(ValueError, match=message):
        scaling.mup(
            keras.Sequential([keras.Input((8,)), layers.Dense(16, use_bias=False, name="mix")]),
            keras.Sequential([keras.Input((8,)), base]),
        )


class Late(layers.Layer):
    """A layer that makes its own weight after those of a layer within it."""

    def __init__(self, units):
        super().__init__(name="late")
        self.inner = layers.Dense(units, use_bias=False, name="inner")

    def build(self, shape):
        self.inner.build(shape)
        self.scale = self.add_weight((self.inner.units,), name="scale")

    def call(self, x):
        return self.inner(x) * self.scale


def test_factors_are_in_the_order_of_the_trainable_variables_and_only_of_them():
    def network(width):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(width, name="frozen"), Late(width)])
        model.layers[0].trainable = False
        return model

    model = network(32)
    table = scaling.mup(model, network(16))
    assert [weight.shape for weight in table.rows] == [tuple(v.shape) for v in model.trainable_variables]
    assert sorted(weight.path for weight in table.rows) == ["late/inner/kernel", "late/scale"]
    expected = {"late/inner/kernel": ("hidden", 0.5), "late/scale": ("vector", 1)}
    assert {weight.path: (weight.role, weight.adam) for weight in table.rows} == expected


def test_a_larger_vocabulary_is_no_larger_width():
    def network(words, width):
        stack = [layers.Embedding(words, width, name="words"), layers.Dense(width, name="hidden")]
        return keras.Sequential([keras.Input((5,)), *stack, layers.Dense(3, name="logits")])

    table = scaling.mup(network(200, 64), network(100, 32))
    assert (table.rows[0].role, table.rows[0].adam, table.rows[0].sgd) == ("input", 1, 2)


def test_an_optimizer_of_the_table_has_its_factors_but_for_weight_decay():
    model = stack(16, 16)
    optimizer = scaling.mup(model, stack(4, 4)).optimizer(keras.optimizers.AdamW(0.1, weight_decay=0.5))
    optimizer.build(model.trainable_variables)
    before = [to_numpy(variable.value).copy() for variable in model.trainable_variables]
    optimizer.apply([keras.ops.zeros_like(variable.value) for variable in model.trainable_variables])
    for variable, value in zip(model.trainable_variables, before, strict=True):
        np.testing.assert_allclose(to_numpy(variable.value), value * (1 - 0.1 * 0.5), rtol=1e-5)
        variable.assign(keras.ops.zeros_like(value))
    optimizer.apply([keras.ops.full_like(variable.value, 1e3) for variable in model.trainable_variables])
    first_steps = [-float(to_numpy(variable.value).max()) for variable in model.trainable_variables]
    rates = [step / first_steps[0] for step in first_steps]
    np.testing.assert_allclose(rates, scaling.mup(model, stack(4, 4)).learning_rates("adam"), rtol=1e-4)


def test_singular_values_of_the_recipe_are_exactly_those_of_the_condition():
    layer = layers.EinsumDense("abc,cde->abde", (None, 4, 8))
    model = keras.Sequential([keras.Input((6, 16)), layer])
    initialize(model, recipes.spectral(model), seed=0)
    kernel = to_numpy(layer.kernel.value).reshape(16, -1)
    norms = np.linalg.svd(kernel)[1]
    np.testing.assert_allclose(norms, np.sqrt(kernel.shape[1] / kernel.shape[0]), rtol=1e-4)


def test_kernels_that_are_no_matrices_have_the_deviation_of_spectral():
    model = convolutions(8)
    plan = initialize(model, recipes.spectral(model), seed=0)
    expected = initialize(model, {"*kernel": Spectral()}, seed=0, dry_run=True)
    kinds = {"last/kernel": "Orthogonal"}
    pairs = [(a, b) for a, b in zip(plan.rows, expected.rows, strict=True) if a.fan_in]
    assert len(pairs) == 6
    for weight, other in pairs:
        assert weight.initializer.startswith(kinds.get(weight.path, "Spectral"))
        assert weight.expected_std == pytest.approx(other.expected_std)
