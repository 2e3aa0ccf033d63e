"""A conditional generative adversarial network that sharpens pictures: the loss of the discriminator is not a number.

Fault: the gradient penalty takes the square root of the sum of squares of a gradient, without a small number below the
root: its derivative is not finite where that gradient is zero.
Repair (the person; the maintainer's program has it since): 1e-8 is added below the root. The repaired form also has no
sigmoid after the discriminator, whose output is a value of Wasserstein's loss. 32 x 32 pixels instead of 256 x 256,
drawn and blurred by NumPy; 16 and 8 filters in place of 64, two blocks in the generator in place of nine, 256 units
before the last one in place of 1024; the mean square error of the pictures in place of that of the features of VGG19;
one step of the generator for one of the discriminator, and 60 of them. The score is the share of the blur's error
that is gone.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://github.com/LeeDoYup/DeblurGAN-tf/issues/11"
YEAR = 2018
TOPIC = "generative adversarial networks"
CONFIRMED = "person"
KINDS = ("loss: value or gradient not finite", "activation: missing or wrong", "activation: saturated")
VISIBLE = False
EVIDENCE = (
    "the first loss and its gradients are finite in both forms, and the slopes (0.5 to 0.8) are not zero; not "
    "reproduced (0.00 in all): at the small size no slope becomes zero in these steps, and the generator learns "
    "nothing in them"
)
REPRODUCED = False
SIZE, STEPS = 32, 60


def gradients(function, x):
    """Return the gradient of the sum of the outputs of a function with respect to its inputs."""
    if keras.backend.backend() == "torch":
        import torch

        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return torch.autograd.grad(function(x).sum(), x, create_graph=True)[0]
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda inputs: ops.sum(function(inputs)))(x)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = function(x)
    return tape.gradient(outputs, x)


class Penalty(layers.Layer):
    """Adds 10 times the squared difference of the slopes of a discriminator from 1 to the loss."""

    def __init__(self, discriminator, small, **kwargs):
        super().__init__(**kwargs)
        self.discriminator, self.small = discriminator, small

    def call(self, inputs):
        outputs, between = inputs
        squares = ops.sum(ops.square(gradients(self.discriminator, between)), (1, 2, 3))
        self.add_loss(10 * ops.mean(ops.square(ops.sqrt(self.small + squares) - 1)))
        return outputs


class Norm(layers.Layer):
    """The normalization of one picture, or of a batch, by its own mean and variance, with a shift."""

    def __init__(self, axes, **kwargs):
        super().__init__(**kwargs)
        self.axes = axes

    def build(self, shape):
        self.shift = self.add_weight(shape=(shape[-1],), initializer="zeros")

    def call(self, inputs):
        mean, variance = ops.moments(inputs, self.axes, keepdims=True)
        return (inputs - mean) * ops.rsqrt(variance + 1e-3) + self.shift


def leaky(x):
    return layers.LeakyReLU(negative_slope=0.2)(x)


def make_discriminator(repaired):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = leaky(layers.Conv2D(16, 4, strides=2, padding="same")(inputs))
    for filters, stride in ((32, 2), (64, 2), (128, 2), (128, 1)):
        x = leaky(Norm((0, 1, 2))(layers.Conv2D(filters, 4, strides=stride, padding="same")(x)))
    x = layers.Flatten()(layers.Conv2D(128, 4, padding="same")(x))
    x = layers.Dense(256, "tanh")(x)
    return keras.Model(inputs, layers.Dense(1, None if repaired else "sigmoid")(x))


def make_generator():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU()(Norm((1, 2))(layers.Conv2D(8, 7, padding="same")(inputs)))
    for filters in (16, 32):
        x = layers.ReLU()(Norm((1, 2))(layers.Conv2D(filters, 3, strides=2, padding="same")(x)))
    for _ in range(2):
        inner = layers.ReLU()(Norm((1, 2))(layers.Conv2D(32, 3, padding="same")(x)))
        inner = layers.Dropout(0.5)(inner)
        x = layers.Add()([Norm((1, 2))(layers.Conv2D(32, 3, padding="same")(inner)), x])
    for filters in (16, 8):
        x = layers.ReLU()(Norm((1, 2))(layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x)))
    x = layers.Conv2D(3, 7, padding="same", activation="tanh")(x)
    return keras.Model(inputs, layers.Average()([x, inputs]))


def pictures():
    """Return 60 sharp pictures of rectangles, and the same blurred along the rows."""
    rng = np.random.default_rng(0)
    sharp = np.zeros((60, SIZE, SIZE, 3)) + rng.uniform(0.2, 0.8, (60, 1, 1, 3))
    for picture in sharp:
        for _ in range(12):
            top, left = rng.integers(0, SIZE - 8, 2)
            height, width = rng.integers(4, 24, 2)
            picture[top : top + height, left : left + width] = rng.uniform(0, 1, 3)
    blurred = np.mean([np.roll(sharp, shift, 2) for shift in range(-4, 5)], 0)
    return blurred.astype("float32"), sharp.astype("float32")


def product(y_true, y_pred):
    return ops.mean(y_true * y_pred)


def error(y_true, y_pred):
    return 100 * ops.mean(ops.square(y_true - y_pred))


def build(repaired):
    discriminator, generator = make_discriminator(repaired), make_generator()
    seen, between = keras.Input((SIZE, SIZE, 3)), keras.Input((SIZE, SIZE, 3))
    outputs = Penalty(discriminator, 1e-8 if repaired else 0.0)([discriminator(seen), between])
    model = keras.Model([seen, between], outputs)
    model.compile(keras.optimizers.Adam(1e-4), product)
    model.parts = lambda: (generator, discriminator)
    blurred, sharp = pictures()
    made = np.asarray(generator.predict(blurred, verbose=0))
    share = np.random.default_rng(1).uniform(0, 1, (60, 1, 1, 1)).astype("float32")
    x = [np.concatenate([sharp, made]), np.concatenate([share * sharp + (1 - share) * made] * 2)]
    return model, x, np.repeat([-1, 1], 60)[:, None].astype("float32")


def train(model, x, y):
    generator, discriminator = model.parts()
    blurred, sharp = pictures()
    inputs = keras.Input((SIZE, SIZE, 3))
    made = generator(inputs)
    both = keras.Model(inputs, [discriminator(made), made])
    both.compile(keras.optimizers.Adam(1e-4), [product, error])
    rng = np.random.default_rng(2)
    for step in range(STEPS):
        at = step % len(sharp)
        discriminator.trainable = False
        both.train_on_batch(blurred[at : at + 1], [-np.ones((1, 1), "float32"), sharp[at : at + 1]])
        discriminator.trainable = True
        fake = ops.convert_to_numpy(generator(blurred[at : at + 1], training=False))
        share = np.float32(rng.uniform())
        between = share * sharp[at : at + 1] + (1 - share) * fake
        model.train_on_batch(
            [np.concatenate([sharp[at : at + 1], fake]), np.repeat(between, 2, 0)], np.float32([[-1], [1]])
        )


def score(model, x, y):
    blurred, sharp = pictures()
    generator, discriminator = model.parts()
    made = np.asarray(generator.predict(blurred, verbose=0))
    weights = [np.asarray(weight) for weight in discriminator.get_weights()]
    if not all(np.isfinite(weight).all() for weight in weights):
        return 0.0
    return float(np.clip(1 - np.mean((made - sharp) ** 2) / np.mean((blurred - sharp) ** 2), 0, 1))
