"""A network with a fault in what training computes, and networks whose first step is the same on all backends."""

import keras
import numpy as np
from keras import layers, ops

import keras_initx

COUNT = 16


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


X = normal(COUNT, 6, 8)
Y = normal(COUNT, 6, 3, seed=1)
MASKED = X * (np.arange(6) < 4)[:, None]


class Gate(layers.Layer):
    """Scales its inputs, whose gradients it may stop or change."""

    def __init__(self, share=1.0, **kwargs):
        super().__init__(**kwargs)
        self.share = share
        self.supports_masking = True

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        return (self.share * x + (1 - self.share) * ops.stop_gradient(x)) * self.scale


def drawn(model, seed=0):
    """Give a model weights that are the same on every backend, of which none is 0 or 1, and return it."""
    keras_initx.initialize(model, seed=seed)
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        values = ops.convert_to_numpy(weight)
        if "float" in weight.dtype and not values.std():
            weight.assign(values + abs(generator.normal(0, 0.1, values.shape)))
    return model


def network(
    *,
    share=1.0,
    momentum=0.99,
    has_mask=True,
    rate=0.1,
    decay=1e-3,
    is_frozen=False,
    constraint=None,
    optimizer=None,
    loss="mse",
    loss_weights=None,
    without_decay=None,
):
    """Return a compiled network, whose arguments are what may be wrong in it."""
    inputs = x = keras.Input((6, 8))
    if has_mask:
        x = layers.Masking(name="mask")(x)
    x = layers.Dense(16, "relu", name="stem", trainable=not is_frozen)(x)
    x = layers.BatchNormalization(momentum=momentum, name="norm")(x)
    x = Gate(share, name="gate")(x)
    x = layers.Dropout(rate, name="drop")(x)
    regularizer = keras.regularizers.L2(decay) if decay else None
    x = layers.Dense(16, "tanh", name="mid", kernel_regularizer=regularizer, kernel_constraint=constraint)(x)
    model = drawn(keras.Model(inputs, layers.Dense(3, name="head")(x), name="net"))
    optimizer = optimizer or keras.optimizers.AdamW(1e-3, weight_decay=0.004)
    if without_decay:
        optimizer.exclude_from_weight_decay(var_names=without_decay)
    model.compile(optimizer, loss, loss_weights=loss_weights)
    return model


def sgd(**kwargs):
    return keras.optimizers.SGD(**{"learning_rate": 0.1, **kwargs})


def crossentropy(**kwargs):
    return keras.losses.CategoricalCrossentropy(from_logits=True, **kwargs)


# What is wrong here, what is else there, and what the report says of it.
FAULTS = {
    "a stop_gradient": (lambda: {"share": 0.0}, dict, "nearest to the loss is norm/gamma (0 here,"),
    "a scaled gradient": (lambda: {"share": 0.5}, dict, "nearest to the loss is norm/gamma ("),
    "a momentum of a normalization": (
        lambda: {"momentum": 0.9},
        dict,
        "2 of 2 weights differ: norm/moving_mean, norm/moving_variance (10 times those there)",
    ),
    "a sum for a mean": (
        lambda: {"loss": keras.losses.MeanSquaredError(reduction="sum"), "decay": 0},
        lambda: {"decay": 0},
        "96 times that there, the number of positions in the targets: a sum against a mean",
    ),
    "a mask that is lost": (lambda: {"has_mask": False}, dict, "outputs in training: differs, by"),
    "another clipping": (
        lambda: {"optimizer": sgd(clipnorm=0.01)},
        lambda: {"optimizer": sgd()},
        "optimizer: clipnorm: 0.01 here, None there",
    ),
    "another rate": (
        lambda: {"optimizer": sgd(learning_rate=1.0)},
        lambda: {"optimizer": sgd()},
        "(10 times those there)",
    ),
    "another epsilon": (
        lambda: {"optimizer": keras.optimizers.Adam(epsilon=1e-3)},
        lambda: {"optimizer": keras.optimizers.Adam()},
        "optimizer: epsilon: 0.001 here, 1e-07 there",
    ),
    "another decay": (
        lambda: {"optimizer": keras.optimizers.AdamW(weight_decay=0.5)},
        dict,
        "optimizer: weight_decay: 0.5 here, 0.004 there",
    ),
    "weights without decay": (
        lambda: {"optimizer": keras.optimizers.AdamW(weight_decay=0.5), "without_decay": ["kernel"]},
        lambda: {"optimizer": keras.optimizers.AdamW(weight_decay=0.5)},
        "updates: 3 of 9 weights differ, whose gradients are equal: head/kernel (",
    ),
    "a frozen layer": (lambda: {"is_frozen": True}, dict, "stem/kernel (trained there only)"),
    "smoothed labels": (
        lambda: {"loss": crossentropy(label_smoothing=0.2)},
        lambda: {"loss": crossentropy()},
        "loss: label_smoothing: 0.2 here, 0 there",
    ),
    "a penalty that is missing": (lambda: {"decay": 0}, dict, "of it 0 here, 0.0"),
    "another dropout": (lambda: {"rate": 0.3}, dict, "later ones are not: rate: 0.3 here, 0.1 there (drop)"),
    "a weight of the loss": (
        lambda: {"loss_weights": 2.0, "decay": 0},
        lambda: {"decay": 0},
        "gradients: all are 2 times those there",
    ),
    "a momentum of Nesterov": (
        lambda: {"optimizer": sgd(momentum=0.5, nesterov=True)},
        lambda: {"optimizer": sgd(momentum=0.5)},
        "(1.5 times those there)",
    ),
    "a constraint": (
        lambda: {"constraint": "unit_norm"},
        dict,
        "updates: 1 of 9 weights differ, whose gradients are equal: mid/kernel (",
    ),
}


def stack(shape, *parts, dtype=None):
    return keras.Sequential([keras.Input(shape, dtype=dtype), *parts], name="net")


def mlp():
    parts = [layers.Dense(32, "gelu", name="a"), layers.LayerNormalization(name="norm"), layers.Dropout(0.3)]
    parts += [layers.Dense(32, "relu", name="b"), layers.Dense(3, name="head")]
    return stack((16,), *parts), normal(COUNT, 16), normal(COUNT, 3), sgd(momentum=0.9), "mse"


def deep():
    parts = [layers.Dense(32, "tanh", name=f"hidden_{number}") for number in range(8)]
    model = stack((16,), *parts, layers.Dense(1, "sigmoid", name="head"))
    return model, normal(COUNT, 16), classes(2, COUNT, 1), "adam", "binary_crossentropy"


def classes(number, *shape):
    return np.random.default_rng(2).integers(0, number, shape)


def cnn():
    parts = []
    for number in range(3):
        parts.append(layers.Conv2D(8, 3, padding="same", name=f"conv_{number}"))
        parts.append(layers.BatchNormalization(name=f"norm_{number}"))
        parts.append(layers.ReLU(name=f"relu_{number}"))
    parts += [layers.GlobalAveragePooling2D(name="pool"), layers.Dense(5, "softmax", name="head")]
    return stack((12, 12, 3), *parts), normal(COUNT, 12, 12, 3), classes(5, COUNT), "adam", SPARSE


SPARSE = "sparse_categorical_crossentropy"


def residual():
    x = inputs = keras.Input((10, 10, 8))
    for number in range(2):
        y = layers.BatchNormalization(name=f"norm_{number}")(x)
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv_{number}")(y)
        x = layers.Add(name=f"add_{number}")([x, y])
    x = layers.Dense(4, name="head")(layers.Flatten(name="flat")(x))
    return keras.Model(inputs, x), normal(COUNT, 10, 10, 8), normal(COUNT, 4), "rmsprop", "mae"


def separable():
    parts = [layers.DepthwiseConv2D(3, name="depthwise"), layers.GroupNormalization(3, name="groups")]
    parts += [layers.Activation("silu"), layers.SeparableConv2D(8, 3, name="separable"), layers.Flatten()]
    parts += [layers.Dense(10, "selu", name="dense"), layers.Dense(2, name="head")]
    optimizer = keras.optimizers.Nadam(2e-3)
    return stack((8, 8, 6), *parts), normal(COUNT, 8, 8, 6), normal(COUNT, 2), optimizer, keras.losses.Huber()


def transposed():
    parts = [layers.Conv2D(8, 3, strides=2, activation="relu", name="down")]
    parts += [layers.Conv2DTranspose(3, 4, strides=2, name="up")]
    return stack((12, 12, 3), *parts), normal(COUNT, 12, 12, 3), normal(COUNT, 12, 12, 3), "adamax", "mse"


def conv1d():
    parts = [layers.Conv1D(16, 5, padding="causal", activation="relu", name="conv"), layers.MaxPooling1D(2)]
    parts += [layers.Conv1D(8, 3, name="last"), layers.GlobalMaxPooling1D(), layers.Dense(2, name="head")]
    return stack((20, 4), *parts), normal(COUNT, 20, 4), normal(COUNT, 2), sgd(), keras.losses.LogCosh()


def transformer(optimizer="sgd", **kwargs):
    inputs = keras.Input((10,), dtype="int32")
    x = layers.Embedding(50, 32, mask_zero=True, name="tokens")(inputs)
    for number in range(2):
        y = layers.LayerNormalization(name=f"norm_{number}_1")(x)
        attention = layers.MultiHeadAttention(4, 8, dropout=0.1, name=f"attention_{number}")
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.LayerNormalization(name=f"norm_{number}_2")(x)
        y = layers.Dense(64, "gelu", name=f"up_{number}")(y)
        x = x + layers.Dropout(0.1)(layers.Dense(32, name=f"down_{number}")(y))
    model = keras.Model(inputs, layers.Dense(50, name="logits")(x))
    tokens = 1 + classes(49, COUNT, 10)
    tokens[:, 7:] = 0
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return model, tokens, classes(50, COUNT, 10), optimizer, loss


def vit():
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(32, 4, strides=4, name="patches")(x)
    x = layers.Reshape((16, 32), name="tokens")(x)
    for number in range(2):
        y = layers.LayerNormalization(name=f"norm_{number}_1")(x)
        x = x + layers.MultiHeadAttention(4, 8, name=f"attention_{number}")(y, y)
        y = layers.LayerNormalization(name=f"norm_{number}_2")(x)
        x = x + layers.Dense(32, "gelu", name=f"dense_{number}")(y)
    x = layers.Dense(5, name="head")(layers.GlobalAveragePooling1D(name="pool")(x))
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.05, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return keras.Model(inputs, x), normal(COUNT, 16, 16, 3), classes(5, COUNT), optimizer, loss


def cross_attention():
    query, context = keras.Input((4, 8), name="query"), keras.Input((6, 8), name="context")
    x = layers.GroupQueryAttention(4, 4, 2, name="attention")(query, context)
    model = keras.Model([query, context], layers.Dense(2, name="head")(x))
    return model, [normal(COUNT, 4, 8), normal(COUNT, 6, 8)], normal(COUNT, 4, 2), "adam", "mse"


def lstm():
    cell = layers.LSTM(16, return_sequences=True, dropout=0.2, recurrent_dropout=0.1)
    parts = [layers.Bidirectional(cell, name="both"), layers.GRU(12, name="gru")]
    parts.append(layers.Dense(1, "sigmoid", name="head"))
    return stack((9, 6), *parts), normal(COUNT, 9, 6), classes(2, COUNT, 1), "rmsprop", "binary_crossentropy"


def stacked_cells():
    cells = [layers.LSTMCell(8, dropout=0.2, name="first"), layers.GRUCell(6, name="second")]
    parts = [layers.Masking(name="mask"), layers.RNN(cells, name="rnn"), layers.Dense(2, name="head")]
    x = normal(COUNT, 9, 4) * (np.arange(9) < 6)[:, None]
    return stack((9, 4), *parts), x.astype("float32"), normal(COUNT, 2), "adagrad", "mse"


def conv_lstm():
    parts = [layers.ConvLSTM1D(6, 3, name="cells"), layers.Flatten(), layers.Dense(2, name="head")]
    return stack((4, 8, 3), *parts), normal(COUNT, 4, 8, 3), normal(COUNT, 2), sgd(), "mse"


def several_losses():
    inputs = keras.Input((8,))
    x = layers.Dense(16, "tanh", kernel_regularizer="l2", kernel_constraint="max_norm", name="hidden")(inputs)
    outputs = {"a": layers.Dense(2, name="a")(x), "b": layers.Dense(3, "softmax", name="b")(x)}
    model = keras.Model(inputs, outputs)
    y = {"a": normal(COUNT, 2), "b": np.eye(3, dtype="float32")[classes(3, COUNT)]}
    return model, normal(COUNT, 8), y, "ftrl", {"a": "mse", "b": "categorical_crossentropy"}


class Holding(keras.Model):
    """Has a loss of its own, and holds a weight itself."""

    def __init__(self):
        super().__init__(name="net")
        self.hidden = layers.Dense(16, "relu", name="hidden")
        self.head = layers.Dense(2, name="head")
        self.scale = self.add_weight(shape=(16,), initializer="ones", name="scale")

    def call(self, x):
        x = self.hidden(x) * self.scale
        self.add_loss(1e-2 * ops.mean(ops.square(x)))
        return self.head(x)


def holding():
    model = Holding()
    model(normal(COUNT, 8))
    return model, normal(COUNT, 8), normal(COUNT, 2), keras.optimizers.Lion(1e-3), "mae"


def shared():
    first, second = keras.Input((8,)), keras.Input((8,))
    tower = stack((8,), layers.Dense(8, "tanh", name="one"), layers.Dense(4, name="two"))
    x = layers.Concatenate()([tower(first), tower(second)])
    model = keras.Model([first, second], layers.Dense(1, name="head")(x))
    return model, [normal(COUNT, 8), normal(COUNT, 8, seed=3)], normal(COUNT, 1), "adam", "mse"


def adapted():
    model = stack((16,), layers.Dense(32, "relu", name="hidden"), layers.Dense(3, name="head"))
    model.layers[0].enable_lora(4)
    return model, normal(COUNT, 16), normal(COUNT, 3), "adam", "mse"


def weighted_norms():
    parts = [layers.Dense(16, name="dense"), layers.RMSNormalization(name="rms"), layers.PReLU(name="prelu")]
    parts += [layers.GaussianDropout(0.1), layers.AlphaDropout(0.1), layers.Dense(2, name="head")]
    return stack((12,), *parts), normal(COUNT, 12), normal(COUNT, 2), keras.optimizers.Lamb(1e-3), "mse"


def accumulated():
    optimizer = keras.optimizers.Adam(gradient_accumulation_steps=4)
    model = stack((8,), layers.Dense(8, "relu", name="hidden"), layers.Dense(2, name="head"))
    return model, normal(COUNT, 8), normal(COUNT, 2), optimizer, "mse"


def averaged():
    model = stack((8,), layers.Dense(8, "softplus", name="hidden"), layers.Dense(2, "relu", name="head"))
    optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=1)
    return model, normal(COUNT, 8), normal(COUNT, 2), optimizer, "mean_squared_logarithmic_error"


CLEAN = {
    function.__name__: function
    for function in (
        mlp,
        deep,
        cnn,
        residual,
        separable,
        transposed,
        conv1d,
        transformer,
        vit,
        cross_attention,
        lstm,
        stacked_cells,
        conv_lstm,
        several_losses,
        holding,
        shared,
        adapted,
        weighted_norms,
        accumulated,
        averaged,
    )
}


def clean(name, seed=0):
    """Return a compiled model with weights that are the same on every backend, its inputs and targets."""
    model, x, y, optimizer, loss = CLEAN[name]()
    drawn(model, seed)
    model.compile(optimizer, loss)
    return model, x, y


def all_state(model):
    """Return the values of all that a model and its optimizer hold."""
    return [np.array(ops.convert_to_numpy(one)) for one in (*model.variables, *model.optimizer.variables)]
