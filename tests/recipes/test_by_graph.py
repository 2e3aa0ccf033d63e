"""Recipes find branches, attention and embeddings of models whose names they do not know."""

from collections import Counter

import keras
import pytest
import strangers
from keras import layers, ops
from modes import often
from strangers import WIDTH

from keras_initx import initialize, recipes

# Of each model, what each recipe gives to weights by their paths, beside its patterns, or its error.
ATTENTION = "multi_head_attention"
ROWS = {
    strangers.text_classifier: {
        "bert": [],
        "gpt2": "with .*a normalization after each sum",
        "zero_residual": "with a normalization after each sum",
        "fixup": "with .*normalization",
    },
    strangers.gpt: {
        "gpt2": [
            f"decoder_block/{ATTENTION}/attention_output/kernel",
            "decoder_block/dense_1/kernel",
            f"decoder_block_1/{ATTENTION}/attention_output/kernel",
            "decoder_block_1/dense_1/kernel",
            "embedding_1/embeddings",
        ],
        "zero_residual": [
            f"decoder_block/{ATTENTION}/attention_output/kernel",
            "decoder_block/dense_1/kernel",
            f"decoder_block_1/{ATTENTION}/attention_output/kernel",
            "decoder_block_1/dense_1/kernel",
        ],
        "bert": "with no normalization after each sum in a transformer of text",
        "vit_timm": "an embedding of tokens",
    },
    strangers.vision_transformer: {
        "vit_timm": ["patch_encoder/dense/kernel", "patch_encoder/dense/bias"],
        "vit_jax": [
            "dense_5/kernel",
            "dense_4/kernel",
            "patch_encoder/dense/kernel",
            "dense/bias",
            "dense_1/bias",
            "dense_2/bias",
            "dense_3/bias",
        ],
        "zero_residual": [
            f"{ATTENTION}/attention_output/kernel",
            "dense_1/kernel",
            f"{ATTENTION}_1/attention_output/kernel",
            "dense_3/kernel",
        ],
        "gpt2": "with no .*token embedding",
    },
    strangers.resnet: {
        "zero_residual": ["batch_normalization_2/gamma", "batch_normalization_4/gamma"],
        "fixup": "with .*normalization, ",
    },
    strangers.perceptron: {
        "zero_residual": ["b1/kernel", "b2/kernel", "b3/kernel"],
        "fixup": [f"{name}/kernel" for name in ("b1", "b2", "b3", "a1", "a2", "a3", "out")],
        "gpt2": "no attention output.*residual branches: 3, which end with 'b1', 'b2', 'b3'; first kernels: 'inp'",
    },
    strangers.translator: {
        "gpt2": "with .*a normalization after each sum, .*; cross-attention",
        "bert": "with cross-attention",
        "zero_residual": "with a normalization after each sum",
    },
    strangers.plain_translator: {
        "zero_residual": [
            f"{ATTENTION}/attention_output/kernel",
            "dense_4/kernel",
            f"{ATTENTION}_1/attention_output/kernel",
            "dense_5/kernel",
            "dense_4/kernel",
            f"{ATTENTION}_2/attention_output/kernel",
            f"{ATTENTION}_3/attention_output/kernel",
            "dense_6/kernel",
        ],
        "fixup": "with attention in a branch",
    },
    strangers.conv_net: {
        "zero_residual": ["residual/conv2d_1/kernel", "residual_1/conv2d_1/kernel"],
        "fixup": [
            "residual/conv2d_1/kernel",
            "residual_1/conv2d_1/kernel",
            "residual/conv2d/kernel",
            "residual_1/conv2d/kernel",
            "residual_1/conv2d_2/kernel",
            "dense/kernel",
        ],
        "resnet": "with no normalization",
    },
}


def special(model, name):
    """Return the paths of weights that get something else than others of their name by a recipe."""
    recipe = getattr(recipes, name)
    table = next(iter(recipe.tables().values()))
    texts = {path: repr(value) for path, value in recipe(model).by_path.items()}
    usual = {}
    for kind in ("kernel", "bias", "embeddings"):
        found = Counter(text for path, text in texts.items() if path.endswith(kind))
        if table.get(kind) is not None:
            usual[kind] = repr(table[kind])
        elif found and kind == "embeddings":  # of positions alone
            usual[kind] = found.most_common(1)[0][0]
    return {path for path, text in texts.items() if usual.get(path.rpartition("/")[2]) != text}


# The branches of the one that always runs are in the `call` of its layers.
@pytest.mark.release_backends
@pytest.mark.parametrize("build", often(ROWS, [strangers.conv_net]), ids=lambda build: build.__name__)
def test_a_model_of_other_names_gets_the_rules_of_its_recipes_and_is_refused_by_others(build):
    model = build()
    for name, expected in ROWS[build].items():
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                getattr(recipes, name)(model)
        else:
            assert special(model, name) == set(expected), name


def saved(model, path):
    model.save(path / "model.keras")
    return keras.models.load_model(path / "model.keras")


def wrapped(model, path):
    shape = model.get_build_config()["input_shape"][1:]
    return keras.Sequential([keras.Input(shape), layers.Identity(), model])


@pytest.mark.rare
@pytest.mark.parametrize("change", [saved, wrapped])
@pytest.mark.parametrize(("build", "name"), [(strangers.gpt, "gpt2"), (strangers.conv_net, "fixup")])
def test_a_saved_model_and_one_in_another_get_the_same_rules(build, name, change, tmp_path):
    model = build()
    expected = special(model, name)
    other = change(model, tmp_path)
    found = special(other, name)
    if change is wrapped:
        found = {path.partition("/")[2] for path in found}
    assert found == expected


@pytest.mark.release_backends
def test_a_model_in_mixed_precision_gets_the_same_rules():
    expected = recipes.zero_residual(strangers.perceptron())
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = strangers.perceptron()
    finally:
        keras.config.set_dtype_policy("float32")
    assert recipes.zero_residual(model).by_path == expected.by_path


@pytest.mark.parametrize("form", ["x + a + m", "x + (a + m)", "Add"])
def test_branches_beside_each_other_count_as_two_however_they_are_added(form):
    model = strangers.parallel_gpt(form)
    rules = recipes.gpt2(model)
    ends = ("multi_head_attention/attention_output/kernel", "dense/kernel")
    assert [rules.by_path[end].stddev for end in ends] == [0.02 / 4**0.5] * 2
    assert special(model, "gpt2") == {
        f"{ATTENTION}/attention_output/kernel",
        "dense/kernel",
        f"{ATTENTION}_1/attention_output/kernel",
        "dense_2/kernel",
    }


def test_the_plan_says_what_was_recognized():
    plan = initialize(strangers.gpt(), "gpt2", seed=0, dry_run=True)
    assert plan.notes == (
        "Recognized in the graph of the model:",
        "  residual branches: 4, which end with 'decoder_block/multi_head_attention', 'decoder_block/dense_1', "
        "'decoder_block_1/multi_head_attention' and 1 more",
        "  normalization: before each branch",
        "  attention: 'decoder_block/multi_head_attention', 'decoder_block_1/multi_head_attention'",
        "  embeddings of tokens: 'embedding'",
        "  embeddings of positions: 'embedding_1'",
        "  last kernels: 'dense'",
        "The recipe 'gpt2' is for a GPT-2, or another decoder that normalizes before each branch.",
    )


def joined(branch, shape=(4, WIDTH)):
    """Return a model that adds a branch to its input twice."""
    inputs = keras.Input(shape)
    x = layers.Dense(WIDTH)(inputs)
    for _ in range(2):
        x = layers.Add()([x, branch(x)])
    return keras.Model(inputs, layers.Dense(1, name="out")(x))


class Scale(layers.Layer):
    """A weight that multiplies, on the side that the backend would be asked for."""

    def __init__(self, shape):
        super().__init__()
        self.factor = self.add_weight(shape=shape, name="factor")

    def call(self, x):
        return self.factor * x


class Kept(layers.Layer):
    """Attention of one's own that keeps its weights, where a symbolic tensor may not be left."""

    def __init__(self):
        super().__init__()
        self.query, self.value, self.out = (layers.Dense(WIDTH) for _ in range(3))
        self.seen = None

    def call(self, x):
        self.seen = ops.softmax(ops.matmul(self.query(x), ops.transpose(x, (0, 2, 1))))
        return self.out(ops.matmul(self.seen, self.value(x)))


@pytest.mark.every_backend
def test_reading_a_model_leaves_it_as_it_was():
    model = joined(lambda x: Kept()(layers.LayerNormalization()(x)))
    layer = model.get_layer(index=3)
    before, calls = layer.seen, [len(vars(part)["_inbound_nodes"]) for part in model.layers]
    assert special(model, "zero_residual") == {"kept/dense_2/kernel", "kept_1/dense_2/kernel"}
    assert layer.seen is before
    assert [len(vars(part)["_inbound_nodes"]) for part in model.layers] == calls


class Hidden(layers.Layer):
    """A kernel that no layer has."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], WIDTH), name="matrix")

    def call(self, x):
        return x + ops.matmul(x, self.matrix)


class Raising(layers.Layer):
    """A layer that knows no symbolic tensors."""

    def build(self, shape):
        self.inner = layers.Dense(WIDTH)
        self.inner.build(shape)

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise RuntimeError("only numbers\nin more lines")
        return self.inner(x)


def gated(x):
    return layers.Multiply()([layers.Dense(WIDTH)(x), layers.Dense(WIDTH, "sigmoid")(x)])


def beside(x):
    return layers.Multiply()([layers.Dense(WIDTH)(x), layers.Dense(WIDTH, "tanh")(x)])


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (lambda x: layers.Dense(WIDTH, "relu")(x), "ends with relu at 'dense_1': zeros there would get no gradient"),
        (lambda x: layers.ReLU()(layers.Dense(WIDTH)(x)), "ends with relu at 'dense_1'"),
        (lambda x: ops.relu(layers.Dense(WIDTH)(x)), "ends with Relu at 'dense_1'"),
        (lambda x: Scale(())(layers.Dense(WIDTH)(x)), "a weight that scales a branch: let that one start at 0"),
        (beside, "the kernels of .* side by side"),
        (lambda x: layers.LSTM(WIDTH, return_sequences=True)(x), "'lstm', a LSTM"),
        (lambda x: Hidden()(layers.Dense(WIDTH)(x)), "'hidden', whose `call` .*: it multiplies by a kernel itself"),
        (lambda x: Raising()(x), "'raising', whose `call` cannot be followed: RuntimeError: only numbers$"),
        (lambda x: layers.Activation("gelu")(x), "no residual branch in its graph"),
    ],
)
def test_a_model_of_which_the_recipe_cannot_be_sure_is_refused_with_what_was_found(branch, message):
    with pytest.raises(ValueError, match=f"`model` must be a residual network, .* {message}"):
        recipes.zero_residual(joined(branch))


def test_an_end_that_a_sigmoid_weighs_is_known():
    assert special(joined(gated), "zero_residual") == {"dense_1/kernel", "dense_3/kernel"}


def test_a_branch_with_pooling_beside_a_shortcut_with_a_kernel_ends_with_its_normalization():
    inputs = keras.Input((4, 4, 3))
    branch = layers.ReLU()(layers.SeparableConv2D(WIDTH, 3, padding="same")(inputs))
    branch = layers.BatchNormalization(name="last")(layers.SeparableConv2D(WIDTH, 3, padding="same")(branch))
    shortcut = layers.Conv2D(WIDTH, 1, 2)(inputs)
    outputs = layers.Dense(1)(layers.Flatten()(layers.add([layers.MaxPooling2D()(branch), shortcut])))
    assert recipes.zero_residual(keras.Model(inputs, outputs)).by_path == {"last/gamma": "zeros"}


def test_two_ways_to_the_output_are_no_branches():
    inputs = keras.Input((4,))
    deep = layers.Dense(1)(layers.Dense(8, "relu")(inputs))
    model = keras.Model(inputs, layers.add([layers.Dense(1)(inputs), deep]))
    with pytest.raises(ValueError, match="no residual branch"):
        recipes.zero_residual(model)


def test_a_skip_around_all_blocks_is_no_branch_of_theirs():
    inputs = keras.Input((4,))
    first = x = layers.Dense(WIDTH, name="first")(inputs)
    for number in (1, 2):
        x = x + layers.Dense(WIDTH, name=f"b{number}")(layers.Dense(WIDTH, "tanh")(x))
    x = first + layers.Dense(WIDTH, name="around")(x)
    model = keras.Model(inputs, layers.Dense(1)(x))
    assert special(model, "zero_residual") == {"b1/kernel", "b2/kernel"}


class Mixed(layers.Layer):
    """Experts in arrays, behind a norm: their gate is not seen, which is not that there is none."""

    def build(self, shape):
        self.up, self.gate = (self.add_weight((2, WIDTH, 16), name=name) for name in ("up", "gate"))
        self.down = self.add_weight((2, 16, WIDTH), name="down")

    def call(self, x):
        hidden = ops.silu(ops.einsum("btd,edf->btef", x, self.gate)) * ops.einsum("btd,edf->btef", x, self.up)
        return x + ops.einsum("btef,efd->btd", hidden, self.down)


def test_what_is_not_seen_is_not_said_to_be_missing():
    x = inputs = keras.Input((4, WIDTH))
    model = keras.Model(inputs, layers.Dense(3)(Mixed(name="mixed")(x)))
    with pytest.raises(
        ValueError,
        match=r"with no gate kernel of a feedforward block that the recipe can see; "
        r"'mixed', whose `call` cannot be followed: ",
    ):
        recipes.llama(model)
    with pytest.raises(ValueError, match=r"with no gate kernel of a feedforward block and no token embedding$"):
        recipes.gemma(strangers.perceptron())


@pytest.mark.parametrize("form", ["operation", "layer"])
def test_a_branch_that_is_subtracted_is_one_and_what_it_is_subtracted_from_is_the_stream(form):
    def built(swapped):
        x = inputs = keras.Input((WIDTH,))
        for number in range(2):
            y = 0.5 * layers.Dense(WIDTH, name=f"b{number}")(layers.Dense(WIDTH, "tanh")(x))
            pair = (y, x) if swapped else (x, y)
            x = layers.Subtract()(list(pair)) if form == "layer" else pair[0] - pair[1]
        return keras.Model(inputs, x)

    assert special(built(False), "zero_residual") == {"b0/kernel", "b1/kernel"}
    with pytest.raises(ValueError, match="no residual branch in its graph"):
        recipes.zero_residual(built(True))
