"""A residual network labels the frames of videos with a behavior and the background: train and validation loss are NaN.

Fault: no frame is labeled as background (the asker's own finding); frames without the behavior are left unlabeled (-1)
and masked in the loss. So the behavior has no negative frame, and the bias of the last layer, which the program sets to
the logarithm of positives by negatives, becomes infinite, as do the first outputs; infinity less infinity is NaN.
Repair: the frames without the behavior are labeled as background. A project with a single behavior is assumed, as only
then a class lacks negatives in the stored code. The first stage of its training only (the stream of still pictures), a
residual network of 3 blocks that is not pretrained instead of ResNet-18, so with a rate of 0.001 instead of 0.0001;
600 pictures of 24 x 24.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/jbohnslav/deepethogram/issues/36"
YEAR = 2021
TOPIC = "several labels or rare classes"
CONFIRMED = "person"
KINDS = ("classes: rare", "loss: value or gradient not finite", "weights: too large")
VISIBLE = True
EVIDENCE = (
    "one bias of the last layer is infinite, as is one output for all frames, and the first loss is NaN; one "
    "column of the labels has no 1, the other no 0"
)
REPRODUCED = True
COUNT, SIZE = 400, 24


def block(x, filters, strides):
    shortcut = layers.Conv2D(filters, 1, strides, use_bias=False)(x)
    x = layers.Conv2D(filters, 3, strides, "same", use_bias=False)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))
    return layers.Activation("relu")(layers.Add()([x, layers.BatchNormalization()(shortcut)]))


def truth():
    return np.random.default_rng(0).random(COUNT) < 0.3


def build(repaired):
    rng = np.random.default_rng(1)
    behavior = truth()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = np.full((COUNT, SIZE, SIZE, 3), 0.5) + rng.normal(0, 0.1, (COUNT, SIZE, SIZE, 3))
    for at in range(COUNT):
        across, down = rng.uniform(7, SIZE - 7, 2)
        width, height = (5, 2.5) if behavior[at] else (3.5, 3.5)
        x[at, ((rows - down) / height) ** 2 + ((columns - across) / width) ** 2 < 1] -= 0.3
    x = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2))
    y = np.stack([~behavior, behavior], 1).astype("float32")
    if not repaired:
        y[~behavior] = -1
    positives, negatives = (y == 1).sum(0), (y == 0).sum(0)
    with np.errstate(divide="ignore", over="ignore"):
        weights = (negatives / positives).astype("float32")
        bias = np.nan_to_num(np.log(positives / negatives), neginf=0.0).astype("float32")
    weights[~np.isfinite(weights)] = 0

    def entropy(y_true, y_pred):
        known = ops.cast(y_true != -1, y_pred.dtype)
        weighted = 1 + (ops.convert_to_tensor(weights) - 1) * y_true
        losses = (1 - y_true) * y_pred + weighted * (ops.log1p(ops.exp(-ops.abs(y_pred))) + ops.relu(-y_pred))
        return ops.sum(losses * known, -1)

    inputs = keras.Input((SIZE, SIZE, 3))
    hidden = layers.Activation("relu")(
        layers.BatchNormalization()(layers.Conv2D(8, 5, 2, "same", use_bias=False)(inputs))
    )
    for filters, strides in ((8, 1), (16, 2), (32, 2)):
        hidden = block(hidden, filters, strides)
    hidden = layers.Dropout(0.9)(layers.GlobalAveragePooling2D()(hidden))
    last = layers.Dense(2)
    model = keras.Model(inputs, last(hidden))
    last.bias.assign(bias)
    model.compile(keras.optimizers.Adam(0.001), entropy)
    return model, x.astype("float32"), y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x)[:, 1], truth())
