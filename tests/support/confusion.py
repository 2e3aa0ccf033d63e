"""Small networks of many kinds, healthy and broken, each with the problems that `diagnose` must find in it.

`test_confusion.py` compares them with the reports, and `docs/tables.py` writes them to the page on `diagnose`.
"""

import keras
import numpy as np
from keras import layers, ops
from keras.initializers import Constant, RandomNormal, RandomUniform

import keras_initx

DRAWS = np.random.default_rng(0)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PROBABILITIES = keras.losses.SparseCategoricalCrossentropy()
X = DRAWS.normal(size=(64, 32)).astype("float32")
LABELS = DRAWS.integers(0, 10, 64)
IMAGES = DRAWS.normal(size=(16, 8, 8, 3)).astype("float32")
STEPS = DRAWS.normal(size=(32, 12, 8)).astype("float32")
LONG = np.random.default_rng(1).normal(size=(16, 12, 64)).astype("float32")
TOKENS = DRAWS.integers(0, 50, (16, 13))
BEFORE, AFTER = TOKENS[:, :-1], TOKENS[:, 1:]


def made(initializer):
    """Return an initializer of its own: one from a function, a string id as it is."""
    return initializer() if callable(initializer) else initializer


def scaled(name, factor):
    return lambda: keras_initx.Scaled(name, factor)


def small(stddev=0.02):
    return RandomNormal(stddev=stddev)


# Dense networks: 32 inputs, 10 classes.


def mlp(activation="relu", kernel="he_normal", depth=3, head=None, after=(), **arguments):
    """Return dense layers of 32 units, each with what `after` makes behind it, and a head."""
    stack = []
    for _ in range(depth):
        stack += [layers.Dense(32, activation, kernel_initializer=made(kernel), **arguments)]
        stack += [make() for make in after]
    return keras.Sequential([keras.Input((32,)), *stack, head or layers.Dense(10)])


def classes(model, x=X, loss=CLASSES):
    """Return a model with inputs, labels and a loss."""
    return model, x, LABELS[: len(x)], loss


def dense(*arguments, **options):
    return classes(mlp(*arguments, **options))


def regression(offset=0.0, factor=1.0, loss="mse", head=None, activation="relu"):
    y = offset + factor * (X @ np.linspace(-0.3, 0.3, 32) + 0.3 * DRAWS.normal(size=64))
    return mlp(activation, head=head or layers.Dense(1)), X, y[:, None], loss


def binary(loss="binary_crossentropy", **head):
    return mlp(head=layers.Dense(1, **head)), X, (X[:, :1] > 0).astype("float32"), loss


def several(kernel="glorot_uniform"):
    """Return a network of three outputs with a loss each."""
    inputs = keras.Input((32,))
    hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")(inputs)
    heads = {
        "kind": layers.Dense(10, name="kind", kernel_initializer=made(kernel))(hidden),
        "size": layers.Dense(2, name="size")(hidden),
        "flags": layers.Dense(4, "sigmoid", name="flags")(hidden),
    }
    y = {"kind": LABELS, "size": X[:, :2], "flags": (X[:, :4] > 0).astype("float32")}
    return keras.Model(inputs, heads), X, y, {"kind": CLASSES, "size": "mse", "flags": "binary_crossentropy"}


def residual(end="he_normal"):
    """Return 16 residual blocks without normalization."""
    hidden = inputs = keras.Input((32,))
    for _ in range(16):
        branch = layers.Dense(32, "relu", kernel_initializer="he_normal")(layers.ReLU()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(32, kernel_initializer=made(end))(branch)])
    return classes(keras.Model(inputs, layers.Dense(10)(hidden)))


class Gain(layers.Layer):
    """Multiply by a number that is trained and starts at 0 (ReZero)."""

    def build(self, shape):
        self.gain = self.add_weight(shape=(), initializer="zeros", name="gain")

    def call(self, inputs):
        return self.gain * inputs


def rezero():
    hidden = inputs = keras.Input((32,))
    for _ in range(8):
        hidden = layers.Add()([hidden, Gain()(layers.Dense(32, "relu", kernel_initializer="he_normal")(hidden))])
    return classes(keras.Model(inputs, layers.Dense(10)(hidden)))


def siamese():
    shared = keras.Sequential([keras.Input((32,)), layers.Dense(32, "relu"), layers.Dense(8)])
    left, right = keras.Input((32,)), keras.Input((32,))
    outputs = layers.Dense(1, "sigmoid")(ops.abs(shared(left) - shared(right)))
    y = DRAWS.integers(0, 2, (64, 1))
    return keras.Model([left, right], outputs), [X, X[::-1].copy()], y, "binary_crossentropy"


def two_towers():
    user, item = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    one, two = (layers.Dense(16)(layers.Flatten()(layers.Embedding(50, 16)(ids))) for ids in (user, item))
    x = [DRAWS.integers(0, 50, (64, 1)) for _ in range(2)]
    y = DRAWS.integers(0, 2, (64, 1))
    return keras.Model([user, item], layers.Dot(1)([one, two])), x, y, keras.losses.BinaryCrossentropy(from_logits=True)


def wide_and_deep():
    inputs, category = keras.Input((32,)), keras.Input((1,), dtype="int32")
    deep = layers.Concatenate()([inputs, layers.Flatten()(layers.Embedding(50, 4)(category))])
    deep = layers.Dense(32, "relu")(deep)
    outputs = layers.Dense(1, "sigmoid")(layers.Concatenate()([inputs, deep]))
    x = [X, DRAWS.integers(0, 50, (64, 1))]
    return keras.Model([inputs, category], outputs), x, DRAWS.integers(0, 2, (64, 1)), "binary_crossentropy"


def beside(other):
    """Return a network of two inputs, each with a kernel, of which `other` is the second."""
    inputs = [keras.Input((32,)), keras.Input((32,))]
    hidden = layers.Add()([layers.Dense(32, "relu")(one) for one in inputs])
    return keras.Model(inputs, layers.Dense(10)(hidden)), [X, other], LABELS, CLASSES


def beside_an_embedding(factor=1.0):
    """Return a table of numbers and a category, joined before the first dense layer."""
    inputs, category = keras.Input((32,)), keras.Input((1,), dtype="int32")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(50, 8)(category)), inputs])
    outputs = layers.Dense(1)(layers.Dense(32, "relu", kernel_initializer="he_normal")(joined))
    return keras.Model([inputs, category], outputs), [factor * X, DRAWS.integers(0, 50, (64, 1))], None, None


class Policy(keras.Model):
    """Return probabilities and a value, whose makers `diagnose` cannot tell apart."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")
        self.action, self.value = layers.Dense(6, kernel_initializer=small(9.0)), layers.Dense(1)

    def call(self, inputs):
        hidden = self.hidden(inputs)
        return ops.softmax(self.action(hidden)), self.value(hidden)


class OfNumbers(keras.Model):
    """Take integers as numbers."""

    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")
        self.out = layers.Dense(1)

    def call(self, inputs):
        return self.out(self.hidden(inputs))


def graph_convolution():
    """Return two layers that average over neighbors, and take the mean of all nodes."""
    edges = DRAWS.uniform(size=(64, 12, 12)) < 0.3
    edges = np.maximum(edges, np.eye(12)).astype("float32")
    nodes, weights = keras.Input((12, 8)), keras.Input((12, 12))
    hidden = nodes
    for _ in range(2):
        hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")(ops.matmul(weights, hidden))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))
    x = [DRAWS.normal(size=(64, 12, 8)).astype("float32"), edges / edges.sum(axis=-1, keepdims=True)]
    return keras.Model([nodes, weights], outputs), x, LABELS, CLASSES


# Between the last layer and the loss.

ONE_HOT = np.eye(10, dtype="float32")[LABELS]
SEVERAL = (X[:, :10] > 0).astype("float32")
SOFT = np.exp(X[:, :10]) / np.exp(X[:, :10]).sum(axis=-1, keepdims=True)
ZERO_ONE = (X[:, :1] > 0).astype("float32")
# Two of 64.
RARE = (np.arange(64)[:, None] % 32 == 0).astype("float32")
# Cumulative: class 2 of 4 is 1, 1, 0.
ORDINAL = (LABELS[:, None] % 4 > np.arange(3)).astype("float32")


def ending(units, activation=None, y=LABELS, loss=CLASSES, after=(), **options):
    """Return a network whose last layer has an activation, followed by layers, with targets and a loss."""
    hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")
    stack = [keras.Input((32,)), hidden, layers.Dense(units, activation, **options), *after]
    return keras.Sequential(stack), X, y, loss


def own_crossentropy(y, outputs):
    return ops.mean(ops.binary_crossentropy(y, ops.sigmoid(outputs)), axis=-1)


def by_sgd(rate, loss="mse", **clipping):
    """Return a regression that is compiled with plain SGD."""
    model, x, y, _ = regression()
    model.compile(keras.optimizers.SGD(rate, **clipping), loss)
    return model, x, y, None


def by_adadelta(rate):
    model, x, y, loss = dense()
    model.compile(keras.optimizers.Adadelta(rate), loss)
    return model, x, y, None


def padded(*stack, mask_zero=False):
    """Return a network for texts of 3 words, with 60 zeros behind."""
    words = np.zeros((32, 63), "int32")
    words[:, :3] = 1 + LABELS[:32, None]
    inputs = [keras.Input((63,), dtype="int32"), layers.Embedding(11, 16, mask_zero=mask_zero)]
    return classes(keras.Sequential([*inputs, *stack, layers.Dense(10)]), words)


def pairs():
    """Return a network for pairs, of which those of label 1 are alike, and a loss that draws them together."""
    shared = keras.Sequential([keras.Input((32,)), layers.Dense(32, "relu"), layers.Dense(8)])
    left, right = keras.Input((32,)), keras.Input((32,))
    squares = ops.sum((shared(left) - shared(right)) ** 2, axis=1, keepdims=True)
    y = np.arange(64)[:, None] % 2
    other = np.where(y == 1, X + 0.3 * X[::-1], X[::-1]).astype("float32")

    def contrastive(y_true, y_pred):
        return y_true * y_pred**2 + (1 - y_true) * ops.relu(8 - y_pred) ** 2

    return keras.Model([left, right], ops.sqrt(squares + 1e-7)), [X, other], y.astype("float32"), contrastive


class Difference(keras.losses.Loss):
    """Squared differences as NumPy makes them, of shapes that may not be equal."""

    def call(self, y_true, y_pred):
        return ops.mean((y_true - y_pred) ** 2)


def policy():
    """Return a policy, actions that were taken, and what each gained: nothing for a quarter of them."""

    def loss(y_true, y_pred):
        taken = ops.one_hot(ops.cast(y_true[:, 0], "int32"), 10)
        return -ops.sum(ops.log_softmax(y_pred) * taken, axis=-1) * y_true[:, 1]

    gained = np.where(np.arange(64) % 4 == 0, 0, 1 - 3 * X[:, 0])
    return mlp(), X, np.stack([LABELS, gained], axis=1).astype("float32"), loss


def blank():
    """Return images that a division of integers has made black."""
    model, x, y, loss = dense()
    return model, np.zeros_like(x), y, loss


def exchanged(y_true, y_pred):
    """A crossentropy that takes the outputs for the labels, which get no gradient."""
    return -ops.sum(ops.stop_gradient(y_pred) * ops.log_softmax(y_true), axis=-1)


def logarithms(y_true, y_pred):
    """A crossentropy without a guard, in which what is there counts twice."""
    return -ops.mean(2 * y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), axis=-1)


def ranks(y_true, y_pred):
    """Compare each right label of an example with each wrong one (Zhang and Zhou, 2006)."""
    right, wrong = y_true[:, :, None], 1 - y_true[:, None, :]
    sums = ops.sum(right * wrong * ops.exp(y_pred[:, None, :] - y_pred[:, :, None]), axis=(1, 2))
    return ops.mean(sums / (ops.sum(y_true, axis=1) * ops.sum(1 - y_true, axis=1)))


def labelled(all_of=()):
    """Return sigmoids for several labels, which some examples have all of, and a loss of pairs of labels."""
    y = (X[:, :4] > 0).astype("float32")
    y[:, 0], y[:, 1] = 1, 0
    y[list(all_of)] = 1
    return mlp(head=layers.Dense(4, "sigmoid")), X, y, ranks


def selected(activation=None):
    """Return values of which a second input selects one, for targets from -1 to 1."""
    inputs, taken = keras.Input((32,)), keras.Input((4,))
    values = layers.Dense(4, activation)(layers.Dense(32, "relu")(inputs))
    x = [X, np.eye(4, dtype="float32")[LABELS % 4]]
    return keras.Model([inputs, taken], layers.Dot(1)([values, taken])), x, np.sign(X[:, :1]), "mse"


class Products(layers.Layer):
    """Multiply by several weights, one after the other."""

    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def build(self, shape):
        self.parts = []
        for number in range(4):
            drawn = RandomNormal(stddev=self.stddev)
            self.parts.append(self.add_weight(shape=(32, 32), initializer=drawn, name=f"part_{number}"))

    def call(self, inputs):
        for part in self.parts:
            inputs = ops.matmul(inputs, part)
        return inputs


def products(stddev):
    return keras.Sequential([keras.Input((32,)), Products(stddev), layers.Softmax()]), X, LABELS, PROBABILITIES


def half_square(y_true, y_pred):
    return ops.mean((y_true - y_pred) ** 2) / 2


def chosen(y_true, y_pred):
    """The squared error of the action that was taken, which stands behind its reward."""
    taken = ops.one_hot(ops.cast(y_true[:, 1], "int32"), 4)
    return (ops.sum(taken * y_pred, axis=-1) - y_true[:, 0]) ** 2


def rewarded(size):
    rewards = np.stack([size * X[:, 0], LABELS % 4], axis=1).astype("float32")
    return mlp(head=layers.Dense(4)), X, rewards, chosen


def words_beside(rows, words):
    """Return a network of numbers and an embedding of words."""
    inputs, indices = keras.Input((32,)), keras.Input((4,), dtype="int32")
    hidden = layers.Flatten()(layers.Embedding(rows, 8)(indices))
    hidden = layers.Dense(32, "relu")(layers.Concatenate()([inputs, hidden]))
    return keras.Model([inputs, indices], layers.Dense(10)(hidden)), [X, words], LABELS, CLASSES


def by(optimizer):
    """Return a network that is compiled with an optimizer."""
    model, x, y, loss = dense()
    model.compile(optimizer, loss)
    return model, x, y, None


class ForgetsKernels(keras.optimizers.SGD):
    """Changes biases alone."""

    def apply(self, grads, trainable_variables=None):
        super().apply([grad * (len(grad.shape) < 2) for grad in grads], trainable_variables)


def product(targets, outputs):
    """Return a loss without a least value."""
    return -ops.mean(targets * outputs)


def multiplied():
    """Return raw outputs whose loss is minus their products with the targets."""
    model, x, y, _ = ending(10, y=np.eye(10, dtype="float32")[LABELS])
    model.compile(keras.optimizers.SGD(1.0), product)
    return model, x, y, None


def summed():
    """Return a network with the sum over its examples for a loss, and the rate for a mean."""
    model, x, y, _ = dense()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(keras.optimizers.SGD(1.0), loss)
    return model, x, y, None


def halved(steps):
    """Return Adam with a rate that halves each time that so many steps are done."""
    return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.001, steps, 0.5))


def warmed_up():
    """Return Adam with a rate that rises from 0 in a thousand steps."""
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 10000, warmup_target=0.001, warmup_steps=1000)
    return keras.optimizers.Adam(schedule)


def scaled_error(factor):
    """Return a regression with a multiple of the squared error, which is compiled with SGD."""

    def loss(y_true, y_pred):
        return factor * ops.mean((y_true - y_pred) ** 2)

    return by_sgd(0.01, loss)


def offset(size):
    """Return inputs of this standard deviation about -1."""
    model, x, y, loss = dense()
    return model, (size * x - 1).astype("float32"), y, loss


def next_step(return_sequences):
    """Return a forecast of the next number of each series."""
    stack = [keras.Input((12, 8)), layers.LSTM(16, return_sequences=return_sequences), layers.Dense(1)]
    return keras.Sequential(stack), STEPS, STEPS[:, -1, :1], "mse"


def brightened(**options):
    """Return pixels from 0 to 1 whose brightness changes."""
    stack = [layers.RandomBrightness(0.2, seed=0, **options), layers.Flatten(), layers.Dense(32, "relu")]
    pixels = np.random.default_rng(2).uniform(size=(64, 8, 8, 1)).astype("float32")
    return classes(keras.Sequential([keras.Input((8, 8, 1)), *stack, layers.Dense(10)]), pixels)


def repeated_inputs():
    model, x, y, loss = dense()
    return model, np.repeat(x[:1], len(x), axis=0), y, loss


def lines(*shape):
    """Return images whose axes may stand in the wrong order, and a convolution."""
    stack = [keras.Input(shape), layers.Conv2D(8, 3, padding="same", activation="relu"), layers.Flatten()]
    pixels = np.random.default_rng(2).normal(size=(64, *shape)).astype("float32")
    return classes(keras.Sequential([*stack, layers.Dense(10)]), pixels)


def of_changes(factor):
    """Return a forecast of the next change of a price by an LSTM."""
    stack = [keras.Input((12, 8)), layers.LSTM(16), layers.Dense(1)]
    return keras.Sequential(stack), factor * STEPS, STEPS[:, -1, :1], "mse"


def autoencoder():
    stack = [layers.Dense(16, "tanh"), layers.Dense(4), layers.Dense(16, "tanh"), layers.Dense(32)]
    return keras.Sequential([keras.Input((32,)), *stack]), X, X, "mse"


# Convolutions: images of 8 by 8 pixels, 3 channels.


def images(hidden, inputs, head=None):
    pooled = layers.GlobalAveragePooling2D()(hidden)
    return classes(keras.Model(inputs, (head or layers.Dense(10))(pooled)), IMAGES)


def conv(filters, hidden, size=3, activation="relu", kernel="he_normal", **arguments):
    arguments = {"padding": "same", "activation": activation, "kernel_initializer": made(kernel), **arguments}
    return layers.Conv2D(filters, size, **arguments)(hidden)


def cnn(x=IMAGES):
    inputs = keras.Input((8, 8, 3))
    hidden = conv(16, conv(16, inputs), strides=2)
    return classes(keras.Model(inputs, layers.Dense(10, "softmax")(layers.Flatten()(hidden))), x, "crossentropy")


def resnet(gamma="ones"):
    inputs = keras.Input((8, 8, 3))
    hidden = conv(16, inputs, activation=None)
    for _ in range(3):
        branch = layers.ReLU()(layers.BatchNormalization()(conv(16, hidden, activation=None)))
        branch = layers.BatchNormalization(gamma_initializer=gamma)(conv(16, branch, activation=None))
        hidden = layers.ReLU()(layers.Add()([hidden, branch]))
    return images(hidden, inputs)


def densenet(end="he_normal"):
    inputs = keras.Input((8, 8, 3))
    hidden = conv(8, inputs, activation=None)
    for _ in range(4):
        branch = conv(16, layers.ReLU()(layers.BatchNormalization()(hidden)), 1, None)
        branch = conv(8, layers.ReLU()(layers.BatchNormalization()(branch)), 3, None, end)
        hidden = layers.Concatenate()([hidden, branch])
    return images(layers.ReLU()(layers.BatchNormalization()(hidden)), inputs)


def unet():
    inputs = keras.Input((8, 8, 3))
    one = conv(8, inputs)
    two = conv(16, layers.MaxPooling2D()(one))
    back = conv(8, layers.Concatenate()([layers.UpSampling2D()(two), one]))
    y = (IMAGES[..., :1] > 0).astype("float32")
    return keras.Model(inputs, conv(1, back, 1, "sigmoid", "glorot_uniform")), IMAGES, y, "binary_crossentropy"


def mobilenet():
    inputs = keras.Input((8, 8, 3))
    hidden = conv(32, inputs, activation=None)
    for _ in range(2):
        kernel = keras_initx.HeNormal(input_axes=[0, 1], output_axes=[0, 1, 3])
        hidden = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=kernel)(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
        hidden = conv(32, hidden, 1, None)
        hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    return images(hidden, inputs)


def squeeze_and_excitation():
    inputs = keras.Input((8, 8, 3))
    hidden = layers.BatchNormalization()(conv(16, inputs))
    gate = layers.Dense(16, "sigmoid")(layers.Dense(4, "relu")(layers.GlobalAveragePooling2D(keepdims=True)(hidden)))
    return images(layers.Multiply()([hidden, gate]), inputs)


def upsampling():
    """Return an autoencoder that ends in transposed convolutions."""
    inputs = keras.Input((8, 8, 3))
    code = layers.Dense(8)(layers.Flatten()(conv(16, inputs, strides=2)))
    hidden = layers.Reshape((2, 2, 16))(layers.Dense(64, "relu")(code))
    hidden = layers.Conv2DTranspose(64, 2, 2, "same", activation="relu")(hidden)
    return keras.Model(inputs, layers.Conv2DTranspose(3, 2, 2, "same")(hidden)), IMAGES, IMAGES, "mse"


class Sampling(layers.Layer):
    """Draw a code from its mean and the logarithm of its variance."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor
        self.generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        mean, variance = inputs
        self.add_loss(self.factor * 0.5 * ops.mean(ops.square(mean) + ops.exp(variance) - 1 - variance))
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.generator)
        return mean + ops.exp(variance / 2) * noise


def variational_autoencoder(factor=1.0):
    inputs = keras.Input((32,))
    hidden = layers.Dense(16, "relu")(inputs)
    code = Sampling(factor)([layers.Dense(4)(hidden), layers.Dense(4)(hidden)])
    outputs = layers.Dense(32, "sigmoid")(layers.Dense(16, "relu")(code))
    return keras.Model(inputs, outputs), X, (X > 0).astype("float32"), "binary_crossentropy"


def mixer():
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Reshape((16, 32))(conv(32, inputs, 2, None, "glorot_uniform", strides=2, padding="valid"))
    for _ in range(2):
        mixed = layers.Permute((2, 1))(layers.LayerNormalization()(hidden))
        mixed = layers.Dense(16)(layers.Dense(32, "gelu")(mixed))
        hidden = layers.Add()([hidden, layers.Permute((2, 1))(mixed)])
        mixed = layers.Dense(32)(layers.Dense(64, "gelu")(layers.LayerNormalization()(hidden)))
        hidden = layers.Add()([hidden, mixed])
    pooled = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(hidden))
    return classes(keras.Model(inputs, layers.Dense(10)(pooled)), IMAGES)


def text_convolution():
    inputs = keras.Input((12,), dtype="int32")
    embedded = layers.Embedding(50, 32)(inputs)
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(16, width, activation="relu")(embedded)) for width in (2, 3)]
    return classes(keras.Model(inputs, layers.Dense(10)(layers.Concatenate()(pooled))), BEFORE)


# Recurrent networks: 12 steps of 8 numbers.


def recurrent(*stack, shape=(12, 8), dtype="float32"):
    return classes(keras.Sequential([keras.Input(shape, dtype=dtype), *stack, layers.Dense(10)]), STEPS)


def long_memory(gain=1.0):
    """Return a plain recurrent network over 200 steps."""
    series = np.random.default_rng(2).normal(size=(32, 200, 8)).astype("float32")
    memory = layers.SimpleRNN(16, recurrent_initializer=keras_initx.Orthogonal(gain=gain))
    return classes(keras.Sequential([keras.Input((200, 8)), memory, layers.Dense(10)]), series)


def given_states():
    """Return an LSTM whose first states, zeros, are inputs of the model."""
    inputs = [keras.Input((12, 8)), keras.Input((16,)), keras.Input((16,))]
    hidden = LSTM(16)(inputs[0], initial_state=inputs[1:])
    zeros = np.zeros((len(STEPS), 16), "float32")
    return keras.Model(inputs, layers.Dense(10)(hidden)), [STEPS, zeros, zeros], LABELS[: len(STEPS)], CLASSES


def lstm(value=None, **arguments):
    if value is not None:
        bias = keras_initx.LSTMForgetBias(value)
        arguments |= {"bias_initializer": bias, "unit_forget_bias": False}
    return layers.LSTM(16, **arguments)


def gru(value):
    # That of Keras is not made in 16 bits on torch.
    options = {"bias_initializer": keras_initx.GRUUpdateBias(value), "recurrent_initializer": "initx.orthogonal"}
    return layers.GRU(16, **options)


# Transformers: 12 of 50 tokens.


def attended(hidden, source, *, factor=None, grouped=False, **options):
    """Return the outputs of an attention layer, whose queries and keys have a deviation of `factor` if it is given."""
    layer = layers.GroupQueryAttention(8, 4, 2) if grouped else layers.MultiHeadAttention(4, 8)
    outputs = layer(hidden, source, **options)
    for weight in layer.weights if factor else ():
        if weight.path.split("/")[-2] in ("query", "key") and weight.name == "kernel":
            weight.assign(small(factor * 32**-0.5)(weight.shape))
    return outputs


def blocks(hidden, count, *, post=False, activation="gelu", norm=layers.LayerNormalization, source=None, **options):
    """Return a transformer's blocks with normalization before each branch, or behind it with `post`."""
    for _ in range(count):
        for branch in ("attention", "cross attention", "feed-forward"):
            if branch == "cross attention" and source is None:
                continue
            inputs = hidden if post else norm()(hidden)
            if branch == "feed-forward":
                outputs = layers.Dense(hidden.shape[-1])(layers.Dense(64, activation)(inputs))
            elif branch == "attention":
                outputs = attended(inputs, inputs, **options)
            else:
                outputs = attended(inputs, source, **{**options, "use_causal_mask": False})
            hidden = layers.Add()([hidden, outputs])
            hidden = norm()(hidden) if post else hidden
    return hidden if post else norm()(hidden)


class Positions(layers.Layer):
    """Add an embedding of positions."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=small(), name="table")

    def call(self, inputs):
        return inputs + self.table


def embedded(inputs):
    """Return the embeddings of tokens, plus those of their positions."""
    return Positions()(layers.Embedding(50, 32, embeddings_initializer=small())(inputs))


def encoder(count=4, **options):
    inputs = keras.Input((12,), dtype="int32")
    hidden = blocks(embedded(inputs), count, **options)
    return classes(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))), BEFORE)


class BiasedAttention(layers.Layer):
    """Attend with a bias for each pair of positions that starts at 0, as do the outputs."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (layers.Dense(32) for _ in range(3))
        self.out = layers.Dense(32, kernel_initializer="zeros")

    def build(self, shape):
        for part in (self.query, self.key, self.value, self.out):
            part.build(shape)
        self.table = self.add_weight(shape=(shape[1], shape[1]), initializer="zeros", name="position_table")

    def call(self, inputs):
        scores = ops.matmul(self.query(inputs), ops.transpose(self.key(inputs), (0, 2, 1))) / 8
        return self.out(ops.matmul(ops.softmax(scores + self.table), self.value(inputs)))


def biased_attention():
    inputs = keras.Input((12,), dtype="int32")
    hidden = embedded(inputs)
    for _ in range(3):
        hidden = layers.Add()([hidden, BiasedAttention()(layers.LayerNormalization()(hidden))])
    return classes(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))), BEFORE)


def language_model(stddev=0.02):
    """Return a decoder whose outputs use the weights of its embedding."""
    inputs = keras.Input((12,), dtype="int32")
    embedding = layers.Embedding(50, 64, embeddings_initializer=small(stddev))
    hidden = blocks(embedding(inputs), 2, use_causal_mask=True)
    outputs = Tied(embedding)(hidden)
    return keras.Model(inputs, outputs), BEFORE, AFTER, CLASSES


class Tied(layers.Layer):
    """Multiply by the weights of an embedding."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def call(self, inputs):
        return ops.matmul(inputs, ops.transpose(self.embedding.embeddings))


def translator(factor=None):
    source, target = keras.Input((12,), dtype="int32"), keras.Input((12,), dtype="int32")
    encoded = blocks(embedded(source), 2)
    decoded = blocks(embedded(target), 2, source=encoded, factor=factor, use_causal_mask=True)
    return keras.Model([source, target], layers.Dense(50)(decoded)), [AFTER, BEFORE], AFTER, CLASSES


class Token(layers.Layer):
    """Put a token before the others, and add positions."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer=small(), name="token")
        self.table = self.add_weight(shape=(1 + shape[1], shape[-1]), initializer=small(), name="table")

    def call(self, inputs):
        token = ops.repeat(self.token, ops.shape(inputs)[0], axis=0)
        return ops.concatenate([token, inputs], axis=1) + self.table


def vision_transformer():
    inputs = keras.Input((8, 8, 3))
    patches = layers.Reshape((16, 32))(conv(32, inputs, 2, None, "glorot_uniform", strides=2, padding="valid"))
    hidden = blocks(Token()(patches), 4)
    return classes(keras.Model(inputs, layers.Dense(10, kernel_initializer="zeros")(hidden[:, 0])), IMAGES)


class OwnAttention(layers.Layer):
    """Attend with one head of 64 numbers, in code of its own."""

    def __init__(self, divisor=8.0):
        super().__init__()
        self.divisor = divisor
        self.query, self.key, self.value = (layers.Dense(64) for _ in range(3))

    def build(self, shape):
        for part in (self.query, self.key, self.value):
            part.build(shape)

    def call(self, inputs):
        scores = ops.matmul(self.query(inputs), ops.transpose(self.key(inputs), (0, 2, 1)))
        return ops.matmul(ops.softmax(scores / self.divisor), self.value(inputs))


def own_attention(**options):
    inputs = keras.Input((12, 64))
    hidden = OwnAttention(**options)(layers.LayerNormalization()(inputs))
    return classes(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))), LONG)


def keras_attention(divisor=8.0):
    inputs = keras.Input((12, 64))
    query, key, value = (layers.Dense(64)(inputs) for _ in range(3))
    hidden = layers.Attention()([query / divisor, value, key])
    return classes(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))), LONG)


# Trained networks and 16 bits.


def trained(network, epochs=5):
    model, x, y, loss = network
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    return network


def in_precision(policy, build):
    def network():
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return build()
        finally:
            keras.config.set_dtype_policy(before)

    return network


LSTM, BATCH, LAYER = layers.LSTM, layers.BatchNormalization, layers.LayerNormalization
LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)

HEALTHY = {
    "inputs of deviation 0.3 about -1": lambda: offset(0.3),
    "LSTM, the last step": lambda: next_step(return_sequences=False),
    "SGD, error times 2": lambda: scaled_error(2.0),
    "rate that halves in 10,000 steps": lambda: by(halved(10000)),
    "rate that rises from 0": lambda: by(warmed_up()),
    "divergence of shares": lambda: ending(10, "softmax", SOFT, "kl_divergence"),
    "brightness of pixels from 0 to 1": lambda: brightened(value_range=(0, 1)),
    "regression, targets of deviation 0.1": lambda: ending(1, y=0.1 * X[:, :1], loss="mse"),
    "contrastive loss": pairs,
    "policy gradient": policy,
    "labels in pairs": labelled,
    "values of which one is selected": selected,
    "products of weights of 1 / sqrt(n)": lambda: products(32**-0.5),
    "L2 of 0.01": lambda: dense(kernel_regularizer="l2"),
    "changes of deviation 1": lambda: of_changes(1.0),
    "half of the squared error": lambda: regression(loss=half_square),
    "rewards of deviation 1": lambda: rewarded(1.0),
    "segments that are all 0": lambda: words_beside(2, np.zeros((64, 4), "int32")),
    "images of (16, 16, 1)": lambda: lines(16, 16, 1),
    "60 zeros behind 3 words, a mask": lambda: padded(layers.LSTM(16), mask_zero=True),
    "60 zeros behind 3 words, in both directions": lambda: padded(layers.Bidirectional(layers.LSTM(16))),
    "60 zeros behind 3 words, a pooling": lambda: padded(
        layers.LSTM(16, return_sequences=True), layers.GlobalMaxPooling1D()
    ),
    "ReLU, He": dense,
    "Adadelta, 1": lambda: by_adadelta(1.0),
    "ReLU, He, 30 layers": lambda: dense(depth=30),
    "tanh, Glorot, 10 layers": lambda: dense("tanh", "glorot_uniform", 10),
    "tanh, orthogonal, 10 layers": lambda: dense("tanh", keras_initx.Orthogonal, 10),
    "sigmoid, Glorot, 2 layers": lambda: dense("sigmoid", "glorot_uniform", 2),
    "softsign, Glorot, 10 layers": lambda: dense("softsign", "glorot_uniform", 10),
    "SELU, LeCun, 20 layers": lambda: dense("selu", "lecun_normal", 20),
    "SiLU, He, 5 layers": lambda: dense("silu", depth=5),
    "GELU, He, 5 layers": lambda: dense("gelu", depth=5),
    "leaky ReLU, He, 10 layers": lambda: dense("leaky_relu", depth=10),
    "ReLU, sparse": lambda: dense(kernel=keras_initx.Sparse),
    "batch normalization, 10 layers": lambda: dense(depth=10, after=[BATCH]),
    "layer normalization, 10 layers": lambda: dense(depth=10, after=[LAYER]),
    "dropout": lambda: dense(after=[lambda: layers.Dropout(0.5)]),
    "last kernel of zeros": lambda: dense(head=layers.Dense(10, kernel_initializer="zeros")),
    "regression, squared error": regression,
    "regression, absolute error": lambda: regression(loss="mae"),
    "regression, Huber's loss": lambda: regression(loss=keras.losses.Huber()),
    "regression, small targets": lambda: regression(factor=0.1),
    "two classes, sigmoid": lambda: binary(activation="sigmoid"),
    "two classes, logits": lambda: binary(LOGITS),
    "two classes, prior bias": lambda: binary(LOGITS, bias_initializer=keras_initx.PriorBias(0.01)),
    "three outputs": several,
    "softmax in a layer of its own": lambda: ending(10, loss="crossentropy", after=[layers.Activation("softmax")]),
    "softmax in a lambda": lambda: ending(
        10, loss="crossentropy", after=[layers.Lambda(lambda logits: ops.softmax(logits))]
    ),
    "logarithms of probabilities as logits": lambda: ending(10, "log_softmax"),
    "softplus, divided by its sum in the loss": lambda: ending(10, "softplus", loss="crossentropy"),
    "label smoothing": lambda: ending(
        10, "softmax", ONE_HOT, keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    ),
    "soft targets of a teacher": lambda: ending(10, None, SOFT, keras.losses.CategoricalCrossentropy(from_logits=True)),
    "one-hot times an advantage": lambda: ending(10, "softmax", ONE_HOT * X[:, :1], "categorical_crossentropy"),
    "classes that are left out": lambda: ending(
        10,
        y=np.where(LABELS < 2, 255, LABELS),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
    ),
    "several labels, sigmoid": lambda: ending(10, "sigmoid", SEVERAL, "binary_crossentropy"),
    "ordinal": lambda: ending(3, "sigmoid", ORDINAL, "binary_crossentropy"),
    "own loss of logits": lambda: ending(1, None, ZERO_ONE, own_crossentropy),
    "hinge": lambda: ending(1, "tanh", 2 * ZERO_ONE - 1, "hinge"),
    "focal loss": lambda: ending(1, "sigmoid", RARE, "binary_focal_crossentropy"),
    "regression between 0 and 1, sigmoid": lambda: ending(10, "sigmoid", SOFT, "mse"),
    "regression of counts, Poisson": lambda: ending(1, "softplus", LABELS[:, None].astype("float32"), "poisson"),
    "regression of counts, ReLU": lambda: ending(1, "relu", LABELS[:, None].astype("float32"), "mse"),
    "two rare classes, prior bias": lambda: ending(
        1, "sigmoid", RARE, "binary_crossentropy", bias_initializer=keras_initx.PriorBias(1 / 32)
    ),
    "SGD, 0.03": lambda: by_sgd(0.03),
    "SGD, 3, clipped": lambda: by_sgd(3.0, clipnorm=0.1),
    "siamese": siamese,
    "two towers": two_towers,
    "wide and deep": wide_and_deep,
    "numbers beside an embedding": beside_an_embedding,
    "graph convolution": graph_convolution,
    "autoencoder": autoencoder,
    "16 residual blocks that end in zeros": lambda: residual(end="zeros"),
    "ReZero, 8 blocks": rezero,
    "16 residual blocks that end in small weights": lambda: residual(end=scaled("initx.he_normal", 0.25)),
    "CNN": cnn,
    "ResNet": resnet,
    "ResNet, last scales of zeros": lambda: resnet("zeros"),
    "DenseNet": densenet,
    "U-Net": unet,
    "MobileNet": mobilenet,
    "squeeze and excitation": squeeze_and_excitation,
    "convolutional autoencoder": upsampling,
    "variational autoencoder": lambda: variational_autoencoder(0.03),
    "mixer": mixer,
    "text convolution": text_convolution,
    "LSTM": lambda: recurrent(lstm()),
    "LSTM, forget bias 2": lambda: recurrent(lstm(2.0)),
    "LSTM, chrono bias": lambda: recurrent(
        LSTM(16, bias_initializer=keras_initx.ChronoBias(100), unit_forget_bias=False)
    ),
    "GRU, update bias 2": lambda: recurrent(gru(2.0)),
    "simple RNN, small recurrent kernel, few steps": lambda: classes(
        keras.Sequential([keras.Input((4, 8)), layers.SimpleRNN(16, recurrent_initializer=small()), layers.Dense(10)]),
        STEPS[:, :4],
    ),
    "simple RNN": lambda: recurrent(layers.SimpleRNN(16)),
    "simple RNN, 200 steps": long_memory,
    "LSTM, initial states of zeros": given_states,
    "LSTMs in both directions": lambda: recurrent(
        layers.Bidirectional(LSTM(16, return_sequences=True)), layers.Bidirectional(LSTM(16))
    ),
    "transformer": encoder,
    "transformer, 12 blocks": lambda: encoder(12),
    "attention with biases of zeros, branches that end in zeros": biased_attention,
    "transformer, normalization behind": lambda: encoder(post=True),
    "transformer, grouped queries, RMS": lambda: encoder(grouped=True, norm=layers.RMSNormalization, activation="silu"),
    "language model, tied": language_model,
    "attention of its own, scores divided": own_attention,
    "attention layer of Keras, queries divided": keras_attention,
    "encoder and decoder": translator,
    "vision transformer": vision_transformer,
    "trained, dense": lambda: trained(dense()),
    "trained, GRU": lambda: trained(recurrent(gru(1.0))),
    "trained, transformer": lambda: trained(encoder(2)),
    "float16, dense": in_precision("mixed_float16", dense),
    "bfloat16, GRU": in_precision("bfloat16", lambda: recurrent(gru(1.0))),
    "bfloat16, transformer": in_precision("mixed_bfloat16", lambda: encoder(2)),
}


def identical():
    network = dense()
    kernel = network[0].layers[1].kernel
    kernel.assign(ops.repeat(kernel[:, :16], 2, axis=1))
    return network


def exploding_memory():
    recurrent_kernel = keras_initx.Orthogonal(gain=6.0)
    return recurrent(layers.SimpleRNN(16, "relu", recurrent_initializer=recurrent_kernel))


def shared_initializer():
    one = keras.initializers.GlorotUniform(seed=1)
    return dense(kernel=lambda: one)


def pixels():
    return cnn(DRAWS.integers(0, 256, IMAGES.shape).astype("float32"))


def inputs_of(value):
    model, x, *rest = dense()
    return model, value * x, *rest


def zero_scales():
    return dense(after=[lambda: BATCH(gamma_initializer="zeros")])


def zero_embedding():
    embedding = layers.Embedding(50, 8, embeddings_initializer="zeros")
    model, *_ = recurrent(embedding, layers.GRU(16), shape=(12,), dtype="int32")
    return classes(model, BEFORE)


def without_targets(build):
    def network():
        model, x, _, _ = build()
        return model, x, None, None

    return network


def one_channel():
    """Return an encoder block of one channel, whose normalizations have a single value."""
    inputs = hidden = keras.Input((12, 1))
    normed = layers.LayerNormalization()(hidden)
    hidden = layers.Add()([hidden, layers.MultiHeadAttention(2, 8)(normed, normed)])
    branch = layers.Conv1D(4, 1, activation="relu")(layers.LayerNormalization()(hidden))
    hidden = layers.Add()([hidden, layers.Conv1D(1, 1)(branch)])
    return classes(keras.Model(inputs, layers.Dense(10)(layers.Flatten()(hidden))), STEPS[:, :, :1])


def in_a_closure():
    """Return a network with a layer that only a function knows."""
    hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")
    hidden.build((None, 32))
    stack = [layers.Lambda(lambda inputs: hidden(inputs), output_shape=(32,)), layers.Dense(10)]
    return classes(keras.Sequential([keras.Input((32,)), *stack]))


BROKEN = {
    "encoder block of one channel": (one_channel, ["no gradient"]),
    "layer in a closure": (in_a_closure, ["untracked weights"]),
    "kernels of zeros": (lambda: dense(kernel="zeros"), ["all-zero weights"]),
    "embedding of zeros": (zero_embedding, ["all-zero weights"]),
    "scales of zeros": (zero_scales, ["all-zero weights"]),
    "DenseNet, branches of zeros": (lambda: densenet("zeros"), ["all-zero weights"]),
    "constant kernels": (lambda: dense(kernel=lambda: Constant(0.02)), ["constant weights"]),
    "identical units": (identical, ["identical units"]),
    "one initializer with a seed for all layers": (shared_initializer, ["twin tensors"]),
    "LSTM, bias 2 beside `unit_forget_bias`": (
        lambda: recurrent(LSTM(16, bias_initializer=Constant(2.0))),
        ["forget bias overwritten"],
    ),
    "LSTM, forget bias -4": (lambda: recurrent(lstm(-4.0)), ["shut gates"]),
    "GRU, update bias -4": (lambda: recurrent(gru(-4.0)), ["shut gates"]),
    "raw pixels": (without_targets(pixels), ["unscaled inputs", "saturated output"]),
    "raw numbers beside an embedding": (lambda: beside_an_embedding(100.0), ["unscaled inputs"]),
    "raw integers": (lambda: (OfNumbers(), DRAWS.integers(0, 500, (64, 32)), None, None), ["unscaled inputs"]),
    "inputs of 1e-6": (lambda: inputs_of(1e-6), ["unscaled inputs", "vanishing"]),
    "one of two inputs is zeros": (lambda: beside(np.zeros_like(X)), ["constant inputs"]),
    "an input that is NaN": (
        lambda: inputs_of(np.where(np.arange(32) == 3, np.nan, 1.0)),
        ["inputs not finite"],
    ),
    "ReLU, kernels times 10, 7 layers": (
        lambda: dense(kernel=scaled("initx.he_normal", 10.0), depth=7),
        ["exploding", "exploding gradient"],
    ),
    "float16, kernels times 1e5": (
        in_precision("float16", lambda: dense(kernel=lambda: RandomUniform(-1e4, 1e4))),
        ["exploding", "exploding gradient"],
    ),
    "relu RNN, recurrent kernel times 6": (exploding_memory, ["recurrent kernel", "exploding", "exploding gradient"]),
    "tanh RNN, recurrent kernel of 0.8, 200 steps": (lambda: long_memory(0.8), ["recurrent kernel"]),
    "tanh RNN, recurrent kernel of 0.5": (
        lambda: recurrent(layers.SimpleRNN(16, recurrent_initializer=keras_initx.Orthogonal(gain=0.5))),
        ["recurrent kernel"],
    ),
    "one column of 32 times 30": (lambda: inputs_of(np.where(np.arange(32) == 3, 30.0, 1.0)), ["unscaled inputs"]),
    "softsign, deviation 1": (lambda: dense("softsign", lambda: small(1.0)), ["saturated"]),
    "tanh, deviation 3": (lambda: dense("tanh", lambda: small(3.0)), ["saturated"]),
    "softmax, deviation 4": (
        lambda: classes(mlp(head=layers.Dense(10, "softmax", kernel_initializer=small(4.0))), loss="crossentropy"),
        ["saturated output"],
    ),
    "softmax of two outputs, deviation 9": (lambda: (Policy(), X, None, None), ["saturated output"]),
    "logits, deviation 4": (lambda: dense(head=layers.Dense(10, kernel_initializer=small(4.0))), ["large first loss"]),
    "two classes, logits, deviation 20": (lambda: binary(LOGITS, kernel_initializer=small(20.0)), ["large first loss"]),
    "one of three outputs, deviation 10": (lambda: several(lambda: small(10.0)), ["large first loss"]),
    "ReLU, one kernel times 100": (
        lambda: dense(head=layers.Dense(10, kernel_initializer=keras_initx.Scaled("initx.he_normal", 100.0))),
        ["large first loss"],
    ),
    "16 residual blocks, He": (residual, ["large first loss"]),
    "tied embedding, deviation 1.4": (lambda: language_model(1.4), ["large first loss"]),
    "regression, targets of 1000": (lambda: regression(1000.0), ["large first loss"]),
    "softmax, taken for logits": (lambda: ending(10, "softmax"), ["probabilities as logits"]),
    "sigmoid, taken for logits": (lambda: ending(1, "sigmoid", ZERO_ONE, LOGITS), ["probabilities as logits"]),
    "logits of ten classes, taken for probabilities": (
        lambda: ending(10, loss="sparse_categorical_crossentropy"),
        ["no probabilities"],
    ),
    "logits of two classes, taken for probabilities": (
        lambda: ending(1, None, ZERO_ONE, "binary_crossentropy"),
        ["no probabilities"],
    ),
    "ReLU before binary crossentropy": (
        lambda: ending(1, "relu", ZERO_ONE, "binary_crossentropy"),
        ["no probabilities"],
    ),
    "sigmoids before categorical crossentropy": (
        lambda: ending(10, "sigmoid", ONE_HOT, "categorical_crossentropy"),
        ["no probabilities"],
    ),
    "softmax of one unit": (lambda: ending(1, "softmax", ZERO_ONE, "binary_crossentropy"), ["single class"]),
    "class numbers from 1": (lambda: ending(10, y=LABELS + 1), ["unsuitable labels"]),
    "several labels, softmax": (
        lambda: ending(10, "softmax", SEVERAL, "categorical_crossentropy"),
        ["unsuitable labels"],
    ),
    "labels -1 and 1 for binary crossentropy": (
        lambda: ending(1, "sigmoid", 2 * ZERO_ONE - 1, "binary_crossentropy"),
        ["unsuitable labels"],
    ),
    "sigmoid, targets of deviation 1": (lambda: ending(32, "sigmoid", X, "mse"), ["unreachable targets"]),
    "ReLU, then sigmoid": (
        lambda: ending(1, "relu", ZERO_ONE, "binary_crossentropy", [layers.Activation("sigmoid")]),
        ["unreachable targets"],
    ),
    "Poisson's loss, no activation": (
        lambda: ending(1, None, LABELS[:, None].astype("float32"), "poisson"),
        ["undefined loss"],
    ),
    "inputs that are all 0": (blank, ["constant inputs"]),
    "normalization without a scale, then softmax": (
        lambda: ending(
            10,
            loss="sparse_categorical_crossentropy",
            after=[layers.LayerNormalization(center=False, scale=False), layers.Softmax()],
        ),
        ["limited output"],
    ),
    "own squared error, y of one axis less than the outputs": (
        lambda: ending(1, y=X[:, 0], loss=Difference()),
        ["impossible labels"],
    ),
    "a target that is NaN": (
        lambda: ending(1, y=np.where(np.arange(64) == 3, np.nan, X[:, 0]), loss="mse"),
        ["targets not finite"],
    ),
    "crossentropy, labels and outputs exchanged, L2": (
        lambda: ending(10, y=np.eye(10, dtype="float32")[LABELS], loss=exchanged, kernel_regularizer="l2"),
        ["no gradient"],
    ),
    "logarithms of tanh": (
        lambda: ending(4, "tanh", (X[:, :4] > 0).astype("float32"), logarithms),
        ["undefined loss"],
    ),
    "labels in pairs, one example with all": (lambda: labelled([3]), ["undefined loss"]),
    "sigmoids of which one is selected": (lambda: selected("sigmoid"), ["unreachable targets"]),
    "products of weights of 0.01": (lambda: products(0.01), ["vanishing"]),
    "changes of deviation 0.005": (lambda: of_changes(0.005), ["unscaled inputs", "vanishing"]),
    "half of the squared error, sigmoid": (
        lambda: regression(2.0, loss=half_square, head=layers.Dense(1, "sigmoid")),
        ["unreachable targets"],
    ),
    "rewards of deviation 1e4": (lambda: rewarded(1e4), ["unscaled targets"]),
    "words that are all 0": (lambda: words_beside(100, np.zeros((64, 4), "int32")), ["constant inputs"]),
    "images of (1, 16, 16)": (lambda: lines(1, 16, 16), ["exchanged axes"]),
    "inputs of deviation 0.005 about -1": (lambda: offset(0.005), ["unscaled inputs"]),
    "the same inputs for all examples": (repeated_inputs, ["constant inputs"]),
    "LSTM, all steps for one target": (lambda: next_step(return_sequences=True), ["unsuitable labels"]),
    "squared logarithmic error of negative targets": (
        lambda: ending(1, y=X[:, :1], loss="mean_squared_logarithmic_error"),
        ["unsuitable labels"],
    ),
    "divergence, no activation": (lambda: ending(10, y=SOFT, loss="kl_divergence"), ["no probabilities"]),
    "softmax for several labels": (
        lambda: ending(10, "softmax", SEVERAL, "binary_crossentropy"),
        ["unreachable targets"],
    ),
    "regression, targets of deviation 0.001": (
        lambda: ending(1, y=0.001 * X[:, :1], loss="mse"),
        ["unscaled targets"],
    ),
    "weights from 0 to 1": (
        lambda: dense(kernel=lambda: RandomUniform(0, 1), depth=2),
        ["large first loss"],
    ),
    "brightness of bytes for pixels from 0 to 1": (
        brightened,
        ["unscaled inputs", "large first loss"],
    ),
    "rate that halves in each step": (lambda: by(halved(1)), ["small steps"]),
    "SGD, gradients clipped to 1e-5": (lambda: by_sgd(0.1, clipnorm=1e-5), ["small steps"]),
    "SGD, error times 1e-5": (lambda: scaled_error(1e-5), ["small steps"]),
    "Adam, 0.5": (lambda: by(keras.optimizers.Adam(0.5)), ["large steps"]),
    "60 zeros behind 3 words, LSTM": (lambda: padded(layers.LSTM(16)), ["unread words"]),
    "60 zeros behind 3 words, GRU": (lambda: padded(layers.Dropout(0.3), layers.GRU(16)), ["unread words"]),
    "softmax, then dropout": (
        lambda: ending(10, "softmax", LABELS, "sparse_categorical_crossentropy", [layers.Dropout(0.2)]),
        ["dropped output"],
    ),
    "Adadelta, 0.001": (lambda: by_adadelta(0.001), ["small steps"]),
    "SGD, 3": (lambda: by_sgd(3.0), ["large steps"]),
    "SGD, -0.1": (lambda: by_sgd(-0.1), ["negative rate"]),
    "regression, targets of deviation 1e4": (lambda: regression(factor=1e4), ["unscaled targets"]),
    "attention, queries and keys times sqrt 30": (
        without_targets(lambda: encoder(2, factor=30**0.5)),
        ["focused attention"],
    ),
    "grouped queries, times 6": (without_targets(lambda: encoder(2, grouped=True, factor=6.0)), ["focused attention"]),
    "decoder, queries and keys times 6": (without_targets(lambda: translator(6.0)), ["focused attention"]),
    "attention of its own, scores not divided": (
        without_targets(lambda: own_attention(divisor=1.0)),
        ["focused attention"],
    ),
    "attention layer of Keras, queries not divided": (
        without_targets(lambda: keras_attention(1.0)),
        ["focused attention"],
    ),
    "bias -10 before ReLU": (
        lambda: dense(bias_initializer=Constant(-10.0)),
        ["dead units", "vanishing gradient"],
    ),
    "tanh, deviation 0.01, 7 layers": (
        lambda: dense("tanh", lambda: small(0.01), 7),
        ["vanishing", "vanishing gradient"],
    ),
    "SiLU, Glorot, 30 layers": (lambda: dense("silu", "glorot_uniform", 30), ["vanishing", "vanishing gradient"]),
    "ReLU, LeCun, 30 layers": (lambda: dense(kernel="lecun_normal", depth=30), ["vanishing"]),
    "tanh of half the size, biases of deviation 1, 20 layers": (
        without_targets(lambda: dense("tanh", scaled("initx.glorot_normal", 0.5), 20, bias_initializer=small(1.0))),
        ["alike"],
    ),
    "ReLU, PyTorch's weights and biases, 16 layers, dropout": (
        without_targets(
            lambda: dense(
                kernel=scaled("initx.lecun_uniform", 3**-0.5),
                depth=16,
                bias_initializer=RandomUniform(-(32**-0.5), 32**-0.5),
                after=[lambda: layers.Dropout(0.1)],
            )
        ),
        ["alike"],
    ),
    "sigmoid, Glorot, 10 layers": (lambda: dense("sigmoid", "glorot_uniform", 10), ["alike", "vanishing gradient"]),
}

# What a batch shows once steps are taken on it.
STEPWISE = {
    "SGD, 1, sum over the examples": (summed, ["diverging steps"]),
    "SGD, 5, momentum of 0.99": (lambda: by(keras.optimizers.SGD(5.0, momentum=0.99)), ["diverging steps"]),
    "minus products of raw outputs": (multiplied, ["unbounded loss"]),
    "SGD without the kernels": (lambda: by(ForgetsKernels(0.01)), ["unmoved weights"]),
}
