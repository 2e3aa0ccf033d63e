"""A GAN is to draw images like those of CIFAR-10: the discriminator learns nothing, neither loss moves.

Fault: both networks and their training (relu, dropout, SGD for the discriminator, hard labels).
Repair (asker: works with the networks of the answer and noisy labels): leaky relu, wide convolutions without dropout,
Adam with 1e-3 for the discriminator and 1e-4 for the generator, labels of 0.7 to 1 and of 0 to 0.3.
Images of 16 x 16 instead of 32 x 32, one block and some widths fewer. Returned is the discriminator, which is blamed.
"""

import keras
import numpy as np

URL = "https://github.com/keras-team/keras/issues/4943"
YEAR = 2017
TOPIC = "generative adversarial networks"
CONFIRMED = "asker"
KINDS = ("other",)
VISIBLE = False
EVIDENCE = "a balance of two networks: on one batch the discriminator has sound signals and gradients in both forms"
REPRODUCED = False

NOISE, BATCH, PARTS = 100, 32, {}


def images(count=640):
    """Return smooth coloured images in [0, 1]: a blob on a ground, each of a colour of its own."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    centre, width = rng.uniform(5, 11, (count, 2, 1, 1)), rng.uniform(2, 4, (count, 1, 1))
    blob = np.exp(-((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2) / (2 * width**2))[..., None]
    ground, colour = rng.uniform(0.4, 0.9, (count, 1, 1, 3)), rng.uniform(0, 0.6, (count, 1, 1, 3))
    return (blob * colour + (1 - blob) * ground + rng.normal(0, 0.02, (count, 16, 16, 3))).clip(0, 1).astype("float32")


def networks(repaired):
    layers = keras.layers
    generator, discriminator = [keras.Input((NOISE,))], [keras.Input((16, 16, 3))]
    act = (lambda: layers.LeakyReLU(negative_slope=0.2)) if repaired else (lambda: layers.Activation("relu"))
    if not repaired:
        generator += [layers.Dense(64), act()]
    generator += [layers.Dense(4 * 4 * 64), layers.BatchNormalization()] + ([] if repaired else [act()])
    generator += [layers.Reshape((4, 4, 64))]
    for width in (32, 16):
        generator += [layers.Conv2D(width, 5, padding="same"), layers.BatchNormalization(), act()]
        generator += [layers.UpSampling2D(2)]
    generator += [layers.Conv2D(3, 5, padding="same")] + ([] if repaired else [layers.BatchNormalization()])
    generator += [layers.Activation("sigmoid")]
    if repaired:
        for width in (32, 16):
            discriminator += [layers.Conv2D(width, 5, padding="same"), act(), layers.MaxPooling2D(2)]
        discriminator += [layers.Flatten(), layers.Dense(64), act()]
    else:
        for width in (8, 16):
            discriminator += [layers.Conv2D(width, 3, padding="same"), act(), layers.Conv2D(width, 3), act()]
            discriminator += [layers.MaxPooling2D(2), layers.Dropout(0.25)]
        discriminator += [layers.Flatten(), layers.Dense(64), act(), layers.Dropout(0.5)]
    return keras.Sequential(generator), keras.Sequential([*discriminator, layers.Dense(1, activation="sigmoid")])


def build(repaired):
    generator, model = networks(repaired)
    model.compile(keras.optimizers.Adam(1e-3) if repaired else "sgd", "binary_crossentropy")
    stacked = keras.Sequential([keras.Input((NOISE,)), generator, model])
    stacked.compile(keras.optimizers.Adam(1e-4 if repaired else 1e-3), "binary_crossentropy")
    PARTS.update(generator=generator, stacked=stacked, rng=np.random.default_rng(1), noisy=repaired)
    y = np.repeat([1.0, 0.0], BATCH)[:, None].astype("float32")
    return model, np.concatenate([images()[:BATCH], draw(BATCH)]), y


def noise(count):
    return PARTS["rng"].uniform(-1, 1, (count, NOISE)).astype("float32")


def draw(count):
    return np.asarray(PARTS["generator"].predict_on_batch(noise(count)), "float32")


def train(model, x, y):
    real, rng = images(), PARTS["rng"]
    for _ in range(320):
        some = real[rng.integers(0, len(real), BATCH)]
        labels = np.abs(y - rng.uniform(0, 0.3, y.shape)).astype("float32") if PARTS["noisy"] else y
        model.trainable = True
        model.train_on_batch(np.concatenate([some, draw(BATCH)]), labels)
        model.trainable = False
        PARTS["stacked"].train_on_batch(noise(BATCH), y[:BATCH])


def score(model, x, y):
    """Return how much nearer the drawn images are, in Frechet distance of 4 x 4 means, than gray images are."""
    small = [a.reshape(-1, 4, 4, 4, 4, 3).mean((2, 4)).reshape(len(a), -1) for a in (images(), draw(640))]
    distances = []
    for other in (small[1], np.full_like(small[0], 0.5)):
        product = np.cov(small[0].T) @ np.cov(other.T)
        root = np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum()
        spread = np.trace(np.cov(small[0].T)) + np.trace(np.cov(other.T)) - 2 * root
        distances.append(((small[0].mean(0) - other.mean(0)) ** 2).sum() + spread)
    return float(np.clip(1 - distances[0] / distances[1], 0, 1))
