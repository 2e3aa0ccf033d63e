"""Faces are found by FaceBoxes, trained on WIDER: the loss explodes.

Fault: Adam's rate of 0.001.
Repair (the asker, who avoided it so): a smaller rate; 0.0001 is taken, the older rate of the repository. The repaired
form also has normalization and ReLU after the convolutions of the inner blocks, which had none, as the owners added
soon after, and centred inputs. Half of the channels, drawn pictures of 128 x 128 instead of 1024 x 1024 with figures of
a bright disk for faces, boxes of 32 to 128 points instead of 32 to 512. The score is how well the boxes with a face
are told from those without.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/lxg2015/faceboxes/issues/5"
YEAR = 2018
TOPIC = "segmentation and detection"
CONFIRMED = "person"
KINDS = ("optimizer: rate too large", "activation: missing or wrong")
VISIBLE = False
EVIDENCE = (
    "weights, signals and first loss are those of a sound program; the rate is ten times that of the repaired form. The"
    " missing activations are of the graph, but their stacks still learn. Not reproduced: 0.87, 0.85, 0.82"
    " against 0.57,"
    " 0.57, 0.56 (the explosion after thousands of steps does not come up in 60, in which the larger rate"
    " learns faster)"
)
REPRODUCED = False
SIZE = 128


def default_boxes():
    """Return center, width and height of the boxes, as shares of the picture."""
    boxes = []
    for step, sizes in ((32, (32, 64, 96)), (64, (96,)), (128, (128,))):
        for row in range(SIZE // step):
            for column in range(SIZE // step):
                for at, size in enumerate(sizes):
                    dense = ((-3, -1, 1, 3), (-1, 1), (0,))[at] if step == 32 else (0,)
                    for across in dense:
                        for down in dense:
                            place = (column + 0.5) * step + across * size / 8, (row + 0.5) * step + down * size / 8
                            boxes.append((*place, size, size))
    return np.array(boxes) / SIZE


def encoded(faces, boxes):
    """Return place, size and label for each of the boxes."""
    low = np.maximum(faces[:, None, :2] - faces[:, None, 2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = np.minimum(faces[:, None, :2] + faces[:, None, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    common = np.clip(high - low, 0, None).prod(-1)
    overlap = common / (faces[:, None, 2:].prod(-1) + boxes[:, 2:].prod(-1) - common)
    best, chosen = overlap.max(0), overlap.argmax(0)
    chosen[overlap.argmax(1)] = np.arange(len(faces))
    best[overlap.argmax(1)] = 1
    matched = faces[chosen]
    places = (matched[:, :2] - boxes[:, :2]) / boxes[:, 2:] / 0.1
    return np.concatenate([places, np.log(matched[:, 2:] / boxes[:, 2:]) / 0.2, best[:, None] >= 0.35], 1)


def multibox(y_true, y_pred):
    """Smooth distance of the matched boxes and entropy of these and of the three times as many hardest others."""
    matched = y_true[..., 4]
    count = ops.maximum(ops.sum(matched), 1.0)
    gap = ops.abs(y_pred[..., :4] - y_true[..., :4])
    places = ops.sum(ops.where(gap < 1, 0.5 * ops.square(gap), gap - 0.5), -1) * matched
    logs = ops.log_softmax(y_pred[..., 4:])
    entropy = -matched * logs[..., 1] - (1 - matched) * logs[..., 0]
    ranks = ops.argsort(ops.argsort(ops.stop_gradient((matched - 1) * entropy), -1), -1)
    hardest = ops.cast(ranks, "float32") < 3 * ops.sum(matched, -1, keepdims=True)
    used = ops.maximum(matched, ops.cast(hardest, "float32"))
    return (ops.sum(places) + ops.sum(entropy * used)) / count


def build(repaired):
    rng = np.random.default_rng(0)
    boxes = default_boxes()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = rng.normal(0.4, 0.1, (64, SIZE, SIZE, 3)).astype("float32")
    y = np.zeros((len(x), len(boxes), 5), "float32")
    for at in range(len(x)):
        faces = []
        for _ in range(rng.integers(1, 4)):
            size = rng.integers(24, 90)
            column, row = rng.integers(size // 2, SIZE - size // 2, 2)
            inside = np.hypot(rows - row, columns - column) < size / 2
            eyes = np.hypot(rows - row + size / 8, np.abs(columns - column) - size / 6) < size / 12
            x[at][inside] += (0.2, 0.3, 0.4)
            x[at][eyes] -= 0.6
            faces.append((column, row, size, size))
        y[at] = encoded(np.array(faces) / SIZE, boxes)
    x = np.clip(x, 0, 1)

    def bounds(inputs):
        return keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)

    def convolved(x, channels, size=1, strides=1, inner=True):
        many = x.shape[-1] * size * size
        bias = bounds(many)
        x = layers.Conv2D(
            channels, size, strides, padding="same", kernel_initializer=bounds(many), bias_initializer=bias
        )(x)
        if repaired and inner is not None:
            x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x) if repaired and inner else x

    def both(x):
        x = layers.Concatenate()([layers.ReLU()(x), layers.ReLU()(layers.Rescaling(-1.0)(x))])
        return layers.MaxPooling2D(3, 2, padding="same")(x)

    def inception(x):
        second = convolved(layers.MaxPooling2D(3, 1, padding="same")(x), 16)
        third = convolved(convolved(x, 12), 16, 3)
        fourth = convolved(convolved(convolved(x, 12), 16, 3), 16, 3)
        return layers.Concatenate()([convolved(x, 16), second, third, fourth])

    inputs = keras.Input((SIZE, SIZE, 3))
    hidden = both(convolved(inputs, 12, 7, 4, inner=False))
    hidden = both(convolved(hidden, 32, 5, 2, inner=False))
    for _ in range(3):
        hidden = inception(hidden)
    found = [hidden]
    for _ in range(2):
        found.append(convolved(convolved(found[-1], 64), 128, 3, 2))
    outputs = []
    for hidden, anchors in zip(found, (21, 1, 1), strict=True):
        heads = [convolved(hidden, anchors * numbers, 3, inner=None) for numbers in (4, 2)]
        heads = [layers.Reshape((-1, n))(head) for n, head in zip((4, 2), heads, strict=True)]
        outputs.append(layers.Concatenate()(heads))
    model = keras.Model(inputs, layers.Concatenate(axis=1)(outputs))
    model.compile(keras.optimizers.Adam(0.0001 if repaired else 0.001), multibox)
    return model, (x - 0.4) / 0.2 if repaired else x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=30, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return separated(outputs[..., 5] - outputs[..., 4], y[..., 4])
