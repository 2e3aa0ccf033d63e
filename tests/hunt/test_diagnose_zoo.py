"""Models as they are built in practice: the verdicts that are expected, and nothing changed by looking."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND, to_numpy

import keras_initx

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning"),
    # How Keras calls a quantized embedding in reverse under torch.
    pytest.mark.filterwarnings("ignore:The use of `x.T` on tensors:UserWarning"),
]

GENERATOR = np.random.default_rng(0)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PROBABILITIES = keras.losses.SparseCategoricalCrossentropy()


def normal(*shape):
    return GENERATOR.normal(size=shape).astype("float32")


def pixels(*shape):
    return GENERATOR.integers(0, 256, shape).astype("float32")


def tokens(*shape, vocabulary=50):
    return GENERATOR.integers(0, vocabulary, shape)


# Convolutions


def resnet(gamma="ones"):
    inputs = keras.Input((16, 16, 3))
    hidden = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    for filters in (16, 16, 32, 32):
        strides = 1 if filters == hidden.shape[-1] else 2
        branch = layers.ReLU()(layers.BatchNormalization()(hidden))
        branch = layers.Conv2D(filters, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(branch)
        branch = layers.ReLU()(layers.BatchNormalization()(branch))
        branch = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(branch)
        branch = layers.BatchNormalization(gamma_initializer=gamma)(branch)
        hidden = hidden if strides == 1 else layers.Conv2D(filters, 1, strides, use_bias=False)(hidden)
        hidden = layers.Add()([hidden, branch])
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(hidden)))
    return keras.Model(inputs, layers.Dense(10)(pooled)), normal(8, 16, 16, 3), tokens(8, vocabulary=10), CLASSES


def convnext():
    class Scale(layers.Layer):
        def build(self, shape):
            self.gamma = self.add_weight(shape=shape[-1:], initializer=keras.initializers.Constant(1e-6), name="gamma")

        def call(self, inputs):
            return inputs * self.gamma

    inputs = keras.Input((16, 16, 3))
    hidden = layers.LayerNormalization()(layers.Conv2D(32, 4, 4)(inputs))
    for _ in range(3):
        branch = layers.DepthwiseConv2D(3, padding="same")(hidden)
        branch = layers.Dense(128, "gelu")(layers.LayerNormalization(epsilon=1e-6)(branch))
        hidden = layers.Add()([hidden, Scale()(layers.Dense(32)(branch))])
    pooled = layers.LayerNormalization(epsilon=1e-6)(layers.GlobalAveragePooling2D()(hidden))
    return keras.Model(inputs, layers.Dense(10)(pooled)), normal(8, 16, 16, 3), tokens(8, vocabulary=10), CLASSES


def unet():
    def block(hidden, filters):
        return layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(hidden)

    inputs = keras.Input((16, 16, 1))
    one = block(inputs, 8)
    two = block(layers.MaxPooling2D()(one), 16)
    three = block(layers.MaxPooling2D()(two), 32)
    two = block(layers.Concatenate()([layers.UpSampling2D()(three), two]), 16)
    one = block(layers.Concatenate()([layers.UpSampling2D()(two), one]), 8)
    outputs = layers.Conv2D(1, 1, activation="sigmoid", bias_initializer=keras_initx.PriorBias(0.001))(one)
    return keras.Model(inputs, outputs), normal(4, 16, 16, 1), tokens(4, 16, 16, 1, vocabulary=2), "binary_crossentropy"


def squeeze_excitation():
    inputs = keras.Input((8, 8, 16))
    hidden = layers.Conv2D(16, 3, padding="same")(inputs)
    gate = layers.Dense(16, "sigmoid")(layers.Dense(4, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(hidden)))
    return keras.Model(inputs, layers.Multiply()([hidden, gate])), normal(8, 8, 8, 16), normal(8, 8, 8, 16), "mse"


def text_convolution():
    inputs = keras.Input((20,), dtype="int32")
    embedded = layers.Embedding(50, 16)(inputs)
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(8, width, activation="relu")(embedded)) for width in (2, 3)]
    outputs = layers.Dense(4, "softmax")(layers.Dropout(0.5)(layers.Concatenate()(pooled)))
    return keras.Model(inputs, outputs), tokens(16, 20), tokens(16, vocabulary=4), PROBABILITIES


# Transformers


def transformer(hidden, blocks, *, causal=False, end="glorot_uniform"):
    width = hidden.shape[-1]
    for _ in range(blocks):
        normalized = layers.LayerNormalization()(hidden)
        attention = layers.MultiHeadAttention(4, width // 4)
        hidden = hidden + layers.Dropout(0.1)(attention(normalized, normalized, use_causal_mask=causal))
        branch = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(hidden))
        hidden = hidden + layers.Dropout(0.1)(layers.Dense(width, kernel_initializer=end)(branch))
    return layers.LayerNormalization()(hidden)


class Positions(layers.Layer):
    """A learned embedding of positions, which is added."""

    def __init__(self, initializer):
        super().__init__()
        self.initializer = initializer

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=self.initializer, name="table")

    def call(self, inputs):
        return inputs + self.table


def gpt(end="glorot_uniform"):
    inputs = keras.Input((12,), dtype="int32")
    embedding = layers.ReversibleEmbedding(50, 32, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02))
    hidden = Positions(keras.initializers.RandomNormal(stddev=0.02))(embedding(inputs))
    outputs = embedding(transformer(hidden, 3, causal=True, end=end), reverse=True)
    x = tokens(8, 13)
    return keras.Model(inputs, outputs), x[:, :-1], x[:, 1:], CLASSES


def vision_transformer():
    class Token(layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="zeros", name="token")

        def call(self, inputs):
            return ops.concatenate([ops.repeat(self.token, ops.shape(inputs)[0], axis=0), inputs], axis=1)

    inputs = keras.Input((16, 16, 3))
    patches = layers.Reshape((16, 32))(layers.Conv2D(32, 4, 4)(inputs))
    hidden = transformer(Positions("zeros")(Token()(patches)), 3)
    model = keras.Model(inputs, layers.Dense(10, kernel_initializer="zeros")(hidden[:, 0]))
    return model, normal(8, 16, 16, 3), tokens(8, vocabulary=10), CLASSES


def subclassed_transformer():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.norms = [layers.LayerNormalization() for _ in range(2)]
            self.attention = layers.MultiHeadAttention(2, 8)
            self.dense = [layers.Dense(64, "relu"), layers.Dense(16, kernel_initializer="zeros")]

        def call(self, inputs):
            normalized = self.norms[0](inputs)
            inputs = inputs + self.attention(normalized, normalized)
            return inputs + self.dense[1](self.dense[0](self.norms[1](inputs)))

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(50, 16)
            self.blocks = [Block(), Block()]
            self.head = layers.Dense(50)

        def call(self, inputs):
            hidden = self.embedding(inputs)
            for block in self.blocks:
                hidden = block(hidden)
            return ops.log_softmax(self.head(hidden))

    return Network(), tokens(8, 12), tokens(8, 12), CLASSES


# Generators


def autoencoder():
    encoder = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(8, 3, 2, "same", activation="relu"),
            layers.Conv2D(16, 3, 2, "same", activation="relu"),
            layers.Flatten(),
            layers.Dense(8),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(256, "relu"),
            layers.Reshape((4, 4, 16)),
            layers.Conv2DTranspose(8, 3, 2, "same", activation="relu"),
            layers.Conv2DTranspose(1, 3, 2, "same"),
        ]
    )
    x = normal(8, 16, 16, 1)
    return keras.Sequential([keras.Input((16, 16, 1)), encoder, decoder]), x, x, "mse"


def generator(kernel="glorot_uniform"):
    model = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(4 * 4 * 32, use_bias=False),
            layers.Reshape((4, 4, 32)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(8, 4, 2, "same", use_bias=False, kernel_initializer=kernel),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(3, 4, 2, "same", activation="tanh"),
        ]
    )
    return model, normal(16, 16), normal(16, 16, 16, 3), "mse"


def discriminator():
    small = keras.initializers.RandomNormal(stddev=0.02)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(16, 4, 2, "same", kernel_initializer=small),
            layers.LeakyReLU(),
            layers.SpectralNormalization(layers.Conv2D(32, 4, 2, "same", kernel_initializer=small)),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1, "sigmoid"),
        ]
    )
    return model, np.tanh(normal(16, 16, 16, 3)), tokens(16, 1, vocabulary=2), "binary_crossentropy"


def variational_autoencoder():
    class Sampling(layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(0)

        def call(self, inputs):
            mean, variance = inputs
            self.add_loss(0.5 * ops.mean(ops.square(mean) + ops.exp(variance) - 1 - variance))
            return mean + ops.exp(variance / 2) * keras.random.normal(ops.shape(mean), seed=self.generator)

    inputs = keras.Input((32,))
    hidden = layers.Dense(16, "relu")(inputs)
    code = Sampling()([layers.Dense(4)(hidden), layers.Dense(4, kernel_initializer="zeros")(hidden)])
    outputs = layers.Dense(32, "sigmoid")(layers.Dense(16, "relu")(code))
    x = GENERATOR.uniform(size=(32, 32)).astype("float32")
    return keras.Model(inputs, outputs), x, x, "binary_crossentropy"


# Recurrent networks


def stateful_lstm():
    stack = [layers.LSTM(16, stateful=True, return_sequences=True), layers.LSTM(16, stateful=True), layers.Dense(3)]
    model = keras.Sequential([keras.Input(batch_shape=(8, 6, 4)), *stack])
    model(normal(8, 6, 4))  # states that are not zero
    return model, normal(8, 6, 4), normal(8, 3), "mse"


def convolutional_lstm():
    stack = [layers.ConvLSTM2D(8, 3, return_sequences=True), layers.ConvLSTM2D(4, 3), layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((4, 8, 8, 2)), *stack]), normal(8, 4, 8, 8, 2), normal(8, 3), "mse"


def cells():
    stacked = layers.StackedRNNCells([layers.LSTMCell(16), layers.GRUCell(16, dropout=0.2)])
    model = keras.Sequential([keras.Input((6, 4)), layers.RNN(stacked), layers.Dense(3)])
    return model, normal(16, 6, 4), normal(16, 3), "mse"


def translator():
    source, target = keras.Input((8,), dtype="int32"), keras.Input((7,), dtype="int32")
    encoded, forward, backward = layers.Bidirectional(layers.GRU(16, return_sequences=True, return_state=True))(
        layers.Embedding(50, 16, mask_zero=True)(source)
    )
    decoded = layers.GRU(32, return_sequences=True)(
        layers.Embedding(50, 16)(target), initial_state=layers.Concatenate()([forward, backward])
    )
    attended = layers.Attention()([layers.Dense(32)(decoded), encoded])
    outputs = layers.TimeDistributed(layers.Dense(50))(layers.Concatenate()([decoded, attended]))
    return keras.Model([source, target], outputs), [tokens(8, 8), tokens(8, 7)], tokens(8, 7), CLASSES


# What becomes of layers


def lora():
    model, *data = gpt()
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Dense | layers.EinsumDense | layers.Embedding) and layer.built:
            layer.enable_lora(2)
    return model, *data


def quantized():
    model, *data = gpt()
    model.quantize("int8")
    return model, *data


def frozen():
    model, *data = resnet()
    model.trainable = False
    return model, *data


def transferred():
    backbone, x, y, loss = resnet()
    backbone.trainable = False
    return keras.Sequential([backbone, layers.Dense(16, "relu"), layers.Dense(10)]), x, y, loss


def mixed_precision():
    stack = [layers.Dense(32, "relu", dtype="mixed_bfloat16"), layers.LayerNormalization(dtype="mixed_bfloat16")]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.Dense(4, dtype="float32")])
    return model, normal(32, 16), tokens(32, vocabulary=4), CLASSES


def wrapped():
    import torch

    torch.manual_seed(0)
    convolution = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    recurrent = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1568, 16), torch.nn.Dropout(0.2))

    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = convolution, recurrent
            self.head = layers.Dense(10)

        def call(self, inputs):
            return self.head(self.second(self.first(inputs)))

    model, x = Network(), normal(8, 3, 16, 16)
    model(x)
    return model, x, tokens(8, vocabulary=10), CLASSES


# Several inputs, several outputs


def wide_and_deep():
    wide, deep, category = keras.Input((8,)), keras.Input((16,)), keras.Input((1,), dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(50, 4)(category))
    hidden = layers.Dense(32, "relu")(layers.Concatenate()([deep, embedded]))
    score = layers.Dense(1, "sigmoid", name="score")(layers.Concatenate()([wide, hidden]))
    model = keras.Model([wide, deep, category], [score, layers.Dense(3, name="other")(hidden)])
    model.compile("sgd", ["binary_crossentropy", "mse"])
    return model, [normal(32, 8), normal(32, 16), tokens(32, 1)], [tokens(32, 1, vocabulary=2), normal(32, 3)], None


def siamese():
    shared = keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu"), layers.Dense(8)])
    left, right = keras.Input((16,), name="left"), keras.Input((16,), name="right")
    outputs = layers.Dense(1, "sigmoid")(ops.abs(shared(left) - shared(right)))
    x = {"left": normal(32, 16), "right": normal(32, 16)}
    return keras.Model({"left": left, "right": right}, outputs), x, tokens(32, 1, vocabulary=2), "binary_crossentropy"


# Ready-made models


def application(name, x=normal, *, size=32, gradients=False):
    """Return a model of `keras.applications`; the larger ones without a backward pass, which takes long to compile."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    return model, x(8, size, size, 3), tokens(8, vocabulary=10) if gradients else None, CLASSES


# Faulty ones


def unscaled():
    stack = [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), *stack]), pixels(32, 8, 8, 3), None, None


def dead_middle():
    stack = [layers.Dense(16, "relu"), layers.Dense(16, "relu", kernel_initializer="zeros"), layers.Dense(4)]
    return keras.Sequential([keras.Input((16,)), *stack]), normal(32, 16), normal(32, 4), "mse"


WRONG_FAN = {("wrong fan", "note")}
ZEROS = {("all-zero weights", "note")}
# How it is built, and the verdicts.
ZOO = {
    "resnet": (resnet, set()),
    "resnet, last gamma of zeros": (lambda: resnet("zeros"), ZEROS),
    "convnext": (convnext, {*WRONG_FAN, ("vanishing", "note")}),
    "unet": (unet, set()),
    "squeeze and excitation": (squeeze_excitation, set()),
    "text convolution": (text_convolution, set()),
    "gpt": (gpt, set()),
    "gpt, branches that end in zeros": (lambda: gpt("zeros"), ZEROS),
    "vit": (vision_transformer, ZEROS),
    "subclassed transformer": (subclassed_transformer, ZEROS),
    "autoencoder": (autoencoder, set()),
    "generator": (generator, set()),
    "generator, he": (lambda: generator("he_normal"), WRONG_FAN),
    "discriminator": (discriminator, set()),
    "vae": (variational_autoencoder, ZEROS),
    "stateful lstm": (stateful_lstm, set()),
    "convlstm": (convolutional_lstm, set()),
    "rnn of cells": (cells, set()),
    "translator": (translator, set()),
    "lora": (lora, ZEROS),
    "int8": (quantized, set()),
    "frozen": (frozen, set()),
    "transferred": (transferred, set()),
    "mixed precision": (mixed_precision, set()),
    "wide and deep": (wide_and_deep, set()),
    "siamese": (siamese, set()),
    "MobileNetV2": (lambda: application("MobileNetV2", gradients=True), WRONG_FAN),
    "MobileNetV2, pixels": (lambda: application("MobileNetV2", pixels), {*WRONG_FAN, ("unscaled inputs", "note")}),
    # Smaller images leave the last batch normalizations too few values to go by.
    "ResNet50": (lambda: application("ResNet50", size=64, gradients=True), set()),
    "EfficientNetB0": (lambda: application("EfficientNetB0", pixels), set()),
    "DenseNet121": (lambda: application("DenseNet121"), set()),
    # Without normalization Glorot's weights halve the variance in each of 15 layers.
    "VGG16": (lambda: application("VGG16"), {("vanishing", "error")}),
    "unscaled": (unscaled, {("unscaled inputs", "warning"), ("saturated output", "warning")}),
    "dead middle": (dead_middle, {("all-zero weights", "error")}),
}
if BACKEND == "torch":
    ZOO["wrapped modules"] = (wrapped, set())


def kept(model, x):
    """Return what a model keeps, and what it gives, as arrays, without changing it."""
    values = [variable.value for variable in model.variables]
    if BACKEND == "torch":
        values += [buffer.clone() for layer in model._flatten_layers() for buffer in layer.buffers()]
    with keras.StatelessScope():
        values += keras.tree.flatten(model(x, training=False))
    return [to_numpy(value).copy() for value in values]


@pytest.mark.parametrize("name", ZOO)
def test_zoo(name):
    keras.utils.set_random_seed(0)
    build, expected = ZOO[name]
    model, x, y, loss = build()
    if not model.built:
        model(x)
    before = kept(model, x)
    report = keras_initx.diagnose(model, x, y, loss=loss)
    assert {(verdict.problem, verdict.level) for verdict in report.verdicts} == expected, str(report)
    assert report.ok == all(level == "note" for _, level in expected)
    for one, other in zip(before, kept(model, x), strict=True):
        np.testing.assert_array_equal(one, other)
