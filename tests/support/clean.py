"""Models whose outputs differ between backends by rounding alone: those that are hard, and those that are usual."""

import keras
import numpy as np
from keras import layers, ops
from planted import Rotary


def normal(*shape, mean=0.0, deviation=1.0):
    """Return an array of draws, the same in each session."""
    return np.random.default_rng(len(shape)).normal(mean, deviation, shape).astype("float32")


def stack(shape, *parts):
    return keras.Sequential([keras.Input(shape), *parts], name="net")


def mlp(activation="relu", depth=3, width=64):
    hidden = [layers.Dense(width, activation, name=f"hidden_{number}") for number in range(depth)]
    return stack((32,), *hidden, layers.Dense(5, name="head")), normal(16, 32)


def cnn(size=32, batch=4):
    parts = []
    for number in range(3):
        parts.append(layers.Conv2D(16, 3, strides=2, padding="same", name=f"conv_{number}"))
        parts.append(layers.BatchNormalization(name=f"norm_{number}"))
        parts.append(layers.ReLU(name=f"relu_{number}"))
    model = stack((size, size, 3), *parts, layers.GlobalAveragePooling2D(name="pool"), layers.Dense(5, name="head"))
    return model, normal(batch, size, size, 3)


def separable():
    parts = [
        layers.SeparableConv2D(16, 3, padding="same", name="separable"),
        layers.DepthwiseConv2D(3, strides=2, name="depthwise"),
        layers.Conv2D(16, 3, groups=4, dilation_rate=2, name="grouped"),
        layers.Conv2DTranspose(8, 4, strides=2, padding="same", name="transposed"),
        layers.Activation("swish", name="swish"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Flatten(name="flat"),
        layers.Dense(4, name="head"),
    ]
    return stack((24, 24, 3), *parts), normal(3, 24, 24, 3)


def block(x, number, heads, *, norm=layers.LayerNormalization, activation="gelu"):
    width = x.shape[-1]
    y = norm(name=f"norm_{number}_1")(x)
    x = x + layers.MultiHeadAttention(heads, width // heads, name=f"attention_{number}")(y, y, use_causal_mask=True)
    y = norm(name=f"norm_{number}_2")(x)
    y = layers.Dense(2 * width, activation, name=f"up_{number}")(y)
    return x + layers.Dense(width, name=f"down_{number}")(y)


def transformer(depth=2, **kwargs):
    inputs = keras.Input((12,), dtype="int32")
    x = layers.Embedding(50, 32, name="tokens")(inputs)
    for number in range(depth):
        x = block(x, number, 4, **kwargs)
    x = layers.LayerNormalization(name="norm")(x)
    ids = np.random.default_rng(0).integers(0, 50, (4, 12)).astype("int32")
    return keras.Model(inputs, layers.Dense(50, name="head")(x), name="net"), ids


def rms_transformer():
    return transformer(norm=layers.RMSNormalization, activation="silu")


def deep_transformer():
    return transformer(depth=12)


def lstm(kind=layers.LSTM):
    inputs = keras.Input((20, 8))
    x = layers.Bidirectional(kind(16, return_sequences=True, name="both_ways"), name="first")(inputs)
    x = kind(16, name="second")(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net"), normal(4, 20, 8)


def gru():
    return lstm(layers.GRU)


def masked():
    inputs = keras.Input((10,), dtype="int32")
    x = layers.Embedding(20, 16, mask_zero=True, name="tokens")(inputs)
    x = x + layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    x = layers.LSTM(12, name="recurrent")(x)
    words = np.random.default_rng(0).integers(1, 20, (4, 10)) * (np.arange(10) < np.array([[10], [7], [4], [2]]))
    return keras.Model(inputs, layers.Dense(3, "softmax", name="head")(x), name="net"), words.astype("int32")


def siamese():
    a, b = keras.Input((16,), name="a"), keras.Input((16,), name="b")
    shared = layers.Dense(8, "tanh", name="shared")
    model = keras.Model([a, b], layers.Dot(-1, normalize=True, name="dot")([shared(a), shared(b)]), name="net")
    return model, [normal(6, 16), normal(6, 16, mean=0.5)]


def several_outputs():
    inputs = keras.Input((16,), name="inputs")
    x = layers.Dense(32, "selu", name="trunk")(inputs)
    heads = {name: layers.Dense(3, name=f"{name}_head")(x) for name in ("scores", "boxes")}
    return keras.Model(inputs, heads, name="net"), normal(8, 16)


def classifier(scale=1.0):
    model, x = mlp(depth=2)
    return keras.Sequential([model, layers.Rescaling(scale, name="scale"), layers.Softmax(name="softmax")]), x


def confident_classifier():
    return classifier(scale=10.0)


def activations():
    inputs = keras.Input((32,))
    x = layers.Dense(32, name="first")(inputs)
    names = ["elu", "selu", "softplus", "softsign", "sigmoid", "hard_sigmoid", "mish", "gelu", "tanh", "exponential"]
    parts = [layers.Activation(name, name=name)(x) for name in names]
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.Concatenate(name="all")(parts)), name="net"), normal(
        16, 32
    )


def rotary():
    return stack((64, 32), Rotary(name="rotary"), layers.Dense(4, name="head")), normal(2, 64, 32)


def sines(largest=1000.0):
    class Sines(layers.Layer):
        def call(self, x):
            return ops.sin(largest * x)

    return stack((32,), Sines(name="sines"), layers.Dense(4, name="head")), normal(16, 32, deviation=0.3)


def pooled(size=512):
    parts = [layers.GlobalAveragePooling2D(name="pool"), layers.Dense(4, name="head")]
    return stack((size, size, 3), *parts), normal(2, size, size, 3, mean=1.0)


def group_norm(size=256, mean=3.0):
    parts = [
        layers.Conv2D(16, 3, padding="same", name="conv"),
        layers.ReLU(name="relu"),
        layers.GroupNormalization(4, name="norm"),
        layers.Conv2D(8, 3, strides=4, name="next"),
    ]
    return stack((size, size, 3), *parts), normal(1, size, size, 3, mean=mean)


def small_group_norm():
    return group_norm(32, 0.0)


def layer_norm(mean=10.0):
    parts = [layers.LayerNormalization(name="norm"), layers.Dense(4, name="head")]
    return stack((256,), *parts), normal(8, 256, mean=mean)


def unit_norm():
    parts = [layers.UnitNormalization(name="unit"), layers.Dense(4, name="head")]
    return stack((64,), *parts), normal(8, 64)


def embedded():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(30, 16, name="tokens")(inputs)
    x = layers.GlobalMaxPooling1D(name="pool")(x)
    ids = np.random.default_rng(0).integers(0, 30, (4, 6)).astype("int32")
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net"), ids


def without_weights():
    return stack((8, 8, 3), layers.AveragePooling2D(2, name="pool"), layers.Rescaling(2.0, name="twice")), normal(
        2, 8, 8, 3
    )


def massive():
    """Return a model one of whose channels is a thousand times as large as others."""
    scale = np.ones(32, "float32")
    scale[3] = 1000
    parts = [
        layers.Dense(32, name="first"),
        layers.Rescaling(scale.tolist(), name="massive"),
        layers.Dense(32, "gelu", name="up"),
        layers.LayerNormalization(name="norm"),
        layers.Dense(4, name="head"),
    ]
    return stack((32,), *parts), normal(16, 32)


def wide():
    return stack((8192,), layers.Dense(64, name="wide"), layers.Dense(4, name="head")), normal(8, 8192)


def convolutions_1d():
    parts = [
        layers.Conv1D(16, 5, padding="causal", dilation_rate=2, name="causal"),
        layers.PReLU(name="prelu"),
        layers.AveragePooling1D(3, name="pool"),
        layers.Conv1D(8, 3, name="second"),
        layers.GlobalMaxPooling1D(name="last"),
    ]
    return stack((60, 4), *parts), normal(4, 60, 4)


def nested():
    inner, _ = mlp(depth=2, width=16)
    inputs = keras.Input((32,))
    x = layers.TimeDistributed(layers.Dense(16, "relu"), name="spread")(layers.Reshape((4, 8), name="cut")(inputs))
    x = layers.Flatten(name="flat")(x)
    return keras.Model(
        inputs, layers.Add(name="sum")([inner(inputs), layers.Dense(5, name="side")(x)]), name="outer"
    ), (normal(8, 32))


CLEAN = {
    build.__name__: build
    for build in (
        mlp,
        cnn,
        separable,
        transformer,
        rms_transformer,
        deep_transformer,
        lstm,
        gru,
        masked,
        siamese,
        several_outputs,
        classifier,
        confident_classifier,
        activations,
        rotary,
        sines,
        pooled,
        group_norm,
        small_group_norm,
        layer_norm,
        unit_norm,
        embedded,
        without_weights,
        massive,
        wide,
        convolutions_1d,
        nested,
    )
}


def drawn(name):
    """Return a model with the same weights on every backend, of which none is 0 or 1, and its inputs."""
    keras.utils.set_random_seed(0)
    model, x = CLEAN[name]()
    draws = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype:
            is_kernel = len(weight.shape) > 1
            deviation = np.prod(weight.shape[:-1]) ** -0.5 if is_kernel else 0.3
            values = draws.normal(0, deviation, weight.shape)
            is_scale = weight.name in ("gamma", "scale", "moving_variance")
            weight.assign(1 + abs(values) if is_scale else values)
    return model, x
