"""A Wasserstein GAN of two-layer networks draws digits: after very many steps the images are still bad.

Fault: weak networks, one hidden layer of 128 units each for the generator and the critic (said together with: WGANs
are slow to converge).
Repair (maintainer): transposed convolutions in the generator, convolutions in the critic; all else the same.
The digits have 8 x 8 pixels instead of 28 x 28, and the hidden layers 32 units; the loss, RMSprop (1e-4), the clipping
of the weights (0.01) and five steps of the critic for each of the generator are those of the report.
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

URL = "https://github.com/wiseodd/generative-models/issues/11"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "maintainer"
KINDS = ("capacity", "training: epochs, batches, order")
VISIBLE = False
EVIDENCE = "small networks and a slow method; the numbers of one batch are those of any such WGAN"
REPRODUCED = True

NOISE, BATCH = 10, 32
RNG = np.random.default_rng(0)


def dense(units, activation=None):
    return keras.layers.Dense(units, activation=activation, kernel_initializer="he_normal")


def networks(repaired):
    if not repaired:
        generator = [keras.Input((NOISE,)), dense(32, "relu"), dense(64, "sigmoid")]
        critic = [keras.Input((64,)), dense(32, "relu"), dense(1)]
    else:
        convolution = {"padding": "same", "kernel_initializer": "he_normal"}
        generator = [
            keras.Input((NOISE,)),
            dense(4 * 4 * 16, "relu"),
            keras.layers.Reshape((4, 4, 16)),
            keras.layers.Conv2DTranspose(16, 3, strides=2, activation="relu", **convolution),
            keras.layers.Conv2D(1, 3, activation="sigmoid", **convolution),
            keras.layers.Flatten(),
        ]
        critic = [
            keras.Input((64,)),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu", **convolution),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu", **convolution),
            keras.layers.Flatten(),
            dense(1),
        ]
    return keras.Sequential(generator), keras.Sequential(critic)


def wasserstein(y, scores):
    return keras.ops.mean(y * scores)


def build(repaired):
    generator, critic = networks(repaired)
    critic.compile(keras.optimizers.RMSprop(1e-4, rho=0.9), wasserstein)
    critic.trainable = False
    model = keras.Sequential([keras.Input((NOISE,)), generator, critic])
    model.compile(keras.optimizers.RMSprop(1e-4, rho=0.9), wasserstein)
    x = np.random.default_rng(1).uniform(-1, 1, (1024, NOISE)).astype("float32")
    return model, x, -np.ones((1024, 1), "float32")


def train(model, x, y):
    generator, critic = model.layers
    images = (load_digits().data / 16).astype("float32")
    signs = np.repeat([[-1.0], [1.0]], BATCH, 0).astype("float32")
    for _ in range(320):
        critic.trainable = True
        for _ in range(5):
            noise = RNG.uniform(-1, 1, (BATCH, NOISE)).astype("float32")
            drawn = np.asarray(generator.predict_on_batch(noise))
            critic.train_on_batch(np.concatenate([images[RNG.integers(0, len(images), BATCH)], drawn]), signs)
            critic.set_weights([np.clip(weight, -0.01, 0.01) for weight in critic.get_weights()])
        critic.trainable = False
        model.train_on_batch(RNG.uniform(-1, 1, (BATCH, NOISE)).astype("float32"), y[:BATCH])


def score(model, x, y):
    """Return how much nearer the drawn digits are, in Frechet distance, than gray images are."""
    images = load_digits().data / 16
    drawn = np.asarray(model.layers[0].predict(x, verbose=0), "float64")
    distances = []
    for other in (drawn, np.full_like(images, 0.5)):
        product = np.cov(images.T) @ np.cov(other.T)
        root = np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum()
        shift = ((images.mean(0) - other.mean(0)) ** 2).sum()
        distances.append(shift + np.trace(np.cov(images.T)) + np.trace(np.cov(other.T)) - 2 * root)
    return float(np.clip(1 - distances[0] / distances[1], 0, 1))
