"""A wide sparse autoencoder: the loss becomes negative, and goes on falling below -1.

Fault: the sparsity penalty is half of a divergence, of mean activations of ReLU that have no upper bound; it falls
without end as they grow.
Repair (maintainer): sigmoid codes, a hyperbolic tangent as output, and the whole divergence of two shares.
The strength of the penalty in the report is not said; it must be far above the default to get below -1: 5 is assumed.
"""

import keras
from _program import explained, predictions
from keras import ops
from sklearn.datasets import load_digits

URL = "https://github.com/IParraMartin/Sparse-Autoencoder/issues/1"
YEAR = 2024
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("loss: sign or formula",)
VISIBLE = True
EVIDENCE = (
    "a divergence must not be negative, but the penalty of the batch is -0.16: the mean activations reach 1.06, "
    "and 74 % of them lie above the share of 0.05, where each step up lowers the loss"
)
REPRODUCED = True


class Sparse(keras.Model):
    """An autoencoder with a loss of reconstruction and a penalty on the mean activations of its codes."""

    def __init__(self, repaired):
        super().__init__()
        self.repaired = repaired
        self.code = keras.layers.Dense(448, activation="sigmoid" if repaired else "relu")
        self.image = keras.layers.Dense(64, activation="tanh" if repaired else "relu")

    def call(self, x):
        return self.image(self.code(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        share, mean = 0.05, ops.mean(self.code(x), axis=0)
        if self.repaired:
            mean = ops.clip(mean, 1e-8, 1 - 1e-8)
            divergence = share * ops.log(share / mean) + (1 - share) * ops.log((1 - share) / (1 - mean))
            penalty = 1e-4 * ops.sum(divergence)
        else:
            penalty = 5 * ops.mean(share * (ops.log(share) - ops.log(mean + 1e-8)))
        return ops.mean(ops.square(y - y_pred)) + penalty


def build(repaired):
    x = load_digits().data[:800] / 16
    x = ((x - x.mean()) / x.std()).astype("float32")
    model = Sparse(repaired)
    model.compile(keras.optimizers.Adam(1e-3, clipnorm=1.0))
    model(x[:1])
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=35, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
