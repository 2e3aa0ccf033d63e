"""What `quantize` makes of weights that were written is no weight that loading missed, whatever has them."""

import keras
import numpy as np
import pytest
from modes import needs_int4, often, to_numpy, until_keras

import keras_initx

layers = keras.layers
MODES = ("int8", "int4", "float8")
NEW = pytest.mark.skipif(not hasattr(keras.quantizers, "GPTQConfig"), reason="of later versions of Keras")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(8)
        self.mixed = layers.EinsumDense("ab,bc->ac", 4, bias_axes="c")

    def call(self, x):
        return self.mixed(self.hidden(x))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8), "float32"))
    return model


def functional(function, shape=(8,), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, function(inputs))


def of_words(layer):
    return functional(lambda x: layer(layer(x), reverse=True), (6,), "int32")


MODELS = {
    "dense": lambda: functional(lambda x: layers.Dense(2, use_bias=False)(layers.Dense(8)(x))),
    "einsum": lambda: functional(layers.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de"), (5, 8)),
    "words": lambda: functional(layers.Embedding(16, 8), (6,), "int32"),
    "attention": lambda: functional(lambda x: layers.MultiHeadAttention(2, 4)(x, x), (5, 8)),
    "wrapped": lambda: functional(layers.TimeDistributed(layers.Dense(8)), (5, 8)),
    "nested": lambda: functional(keras.Sequential([keras.Input((8,)), layers.Dense(8)])),
    "beside others": lambda: functional(
        lambda x: layers.Dense(4)(layers.LSTM(4)(layers.BatchNormalization()(x))), (5, 8)
    ),
    "subclassed": subclassed,
}
if hasattr(layers, "ReversibleEmbedding"):
    MODELS["tied words"] = lambda: of_words(layers.ReversibleEmbedding(16, 8))
    MODELS["words both ways"] = lambda: of_words(layers.ReversibleEmbedding(16, 8, tie_weights=False))
CASES = []
for name in MODELS:
    for mode in MODES:
        is_often = (name, mode) == ("dense", "int8")
        # What a quantization makes on every backend is in `test_made_models`.
        marks = [pytest.mark.release_backends, *([] if is_often else [pytest.mark.rare])]
        if mode == "int4":
            marks = [*marks, needs_int4]
        CASES.append(pytest.param(name, mode, marks=marks, id=f"{name}, {mode}"))


def written(model, seed=0):
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.1, 1, weight.shape))
    return model


def values(model):
    return [np.asarray(to_numpy(keras.ops.cast(weight, "float32"))) for weight in model.weights]


def check_equal(model, other):
    assert [weight.path.split("/")[-1] for weight in model.weights] == [
        weight.path.split("/")[-1] for weight in other.weights
    ]
    for one, two in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.filterwarnings("ignore")  # of layers without a `quantize`, and of NaN that becomes an integer
@pytest.mark.parametrize(("name", "mode"), CASES)
def test_nothing_is_missed_of_what_was_written_and_quantized(name, mode):
    build = MODELS[name]
    expected = written(build())
    if len(expected.weights) == len(quantized(expected, mode).weights) and mode == "float8":
        pytest.skip("Keras has no such layer in float8")
    with keras_initx.loading(strict=True, seed=0) as new:
        made = quantized(written(build()), mode)
    with keras_initx.loading(given := build(), strict=True, seed=0) as loaded:
        quantized(written(given), mode)
    for model, result in ((made, new), (given, loaded)):
        check_equal(model, expected)
        assert {row.status for row in result.rows} == {"loaded", "made by quantization"}
        by_status = {row.path.rpartition("/")[2] for row in result.rows if row.status == "made by quantization"}
        assert not by_status & {"kernel", "bias", "embeddings", "reverse_embeddings", "gamma", "recurrent_kernel"}
    # What is quantized first is written then.
    with keras_initx.loading(strict=True, seed=0) as late:
        model = quantized(build(), mode)
        model.set_weights(expected.get_weights())
    check_equal(model, expected)
    assert {row.status for row in late.rows} <= {"loaded", "made by quantization"}


@pytest.mark.filterwarnings("ignore")  # of NaN that becomes an integer
@pytest.mark.skipif("words both ways" not in MODELS, reason="a layer of later versions of Keras")
@pytest.mark.parametrize(
    ("missed", "mode"),
    [
        ("embeddings", "int8"),
        pytest.param("embeddings", "int4", marks=[needs_int4, pytest.mark.rare]),
        pytest.param("reverse_embeddings", "int8", marks=pytest.mark.rare),
        pytest.param("reverse_embeddings", "int4", marks=needs_int4),
    ],
)
def test_each_of_two_tables_that_was_not_written_is_computed(missed, mode):
    with keras_initx.loading(seed=0) as loaded:
        model = MODELS["words both ways"]()
        for weight in model.weights:
            if not weight.path.endswith(f"/{missed}"):
                weight.assign(np.ones(weight.shape))
        quantized(model, mode)
    tables = {row.path.rpartition("/")[2]: row.status for row in loaded.rows}
    other = {"embeddings": "reverse_embeddings", "reverse_embeddings": "embeddings"}[missed]
    assert (tables[missed], tables[other]) == ("computed", "loaded")


def quantized(model, mode):
    model.quantize(mode)
    return model


def blocks():
    """Return a model that can be quantized with calibration, and the layers in it."""
    words = layers.Embedding(16, 8)
    first = keras.Sequential([keras.Input((4, 8)), layers.Dense(8, name="one"), layers.Dense(8, name="two")])
    second = keras.Sequential([keras.Input((4, 8)), layers.EinsumDense("abc,cd->abd", (None, 8), name="three")])
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, second(first(words(inputs))))
    model.structure = {"pre_block_layers": [words], "sequential_blocks": [first, second]}
    return model


class Tokenizer:
    def tokenize(self, text):
        return np.frombuffer(text.encode(), "uint8").astype("int32") % 16


def calibrated(model, mode):
    classes = {"gptq": "GPTQConfig", "awq": "AWQConfig"}
    config = getattr(keras.quantizers, classes[mode])(
        dataset=["abcdefgh" * 8] * 2,
        tokenizer=Tokenizer(),
        num_samples=2,
        sequence_length=4,
        group_size=4,
        quantization_layer_structure=model.structure,
    )
    model.quantize(mode, config=config)
    return model


MODES_WITH_DATA = ["gptq", pytest.param("awq", marks=pytest.mark.rare)]


@NEW
@pytest.mark.filterwarnings("ignore")  # of layers without a `quantize`
@pytest.mark.parametrize("mode", MODES_WITH_DATA)
def test_kernels_that_were_calibrated_are_loaded(mode):
    expected = calibrated(written(blocks()), mode)
    with keras_initx.loading(strict=True, seed=0) as loaded:
        model = calibrated(written(blocks()), mode)
    check_equal(model, expected)
    statuses = {row.path.rpartition("/")[2]: row.status for row in loaded.rows}
    assert statuses.pop("kernel") == statuses.pop("bias", "loaded") == statuses.pop("embeddings") == "loaded"
    assert set(statuses.values()) == {"made by quantization"}


@NEW
@pytest.mark.filterwarnings("ignore")  # of NaN that becomes an integer
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("gptq", marks=until_keras("3.16", "raise an error at NaN in the inputs of a layer")),
        pytest.param("awq", marks=pytest.mark.rare),
    ],
)
@pytest.mark.parametrize("missed", often(["one", "three"], ["three"]))
def test_a_kernel_that_was_not_written_before_its_calibration_is_computed(mode, missed):
    with keras_initx.loading(seed=0) as loaded:
        model = blocks()
        for weight in model.weights:
            if not weight.path.endswith(f"{missed}/kernel"):
                weight.assign(np.ones(weight.shape))
        calibrated(model, mode)
    assert {row.status for row in loaded.rows if row.path.endswith(f"{missed}/kernel")} == {"computed"}
    assert all(f"{missed}/" in path for path in loaded.missed)
    assert not loaded.not_known
