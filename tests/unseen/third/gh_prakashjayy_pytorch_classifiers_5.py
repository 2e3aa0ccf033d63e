"""The last layer of a frozen residual network is trained: the loss falls, but the accuracy that is shown stays 0.

Fault: the count of right answers, an integer, is divided by the number of examples as integers are.
Repair (a reader with the same trouble): the count is made a float before.
Frozen random layers stand in for the pretrained ones; the true accuracy is the score, so both forms are alike.
"""

import keras
from _program import accuracy, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/prakashjayy/pytorch_classifiers/issues/5"
YEAR = 2019
TOPIC = "image classification"
CONFIRMED = "comments"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = (
    "not reproduced, as the trained weights are the same: after three epochs the metric of the compiled model "
    "says 0 while 16 % of the answers are right"
)
REPRODUCED = False


def shown_accuracy(repaired):
    def shown(y_true, y_pred):
        right = ops.cast(ops.equal(ops.argmax(y_pred, -1), ops.cast(ops.reshape(y_true, (-1,)), "int64")), "int32")
        count = ops.sum(right)
        return ops.cast(count, "float32") / len(right) if repaired else count // len(right)

    return shown


def build(repaired):
    digits = load_digits()
    x = ((digits.images[:400, :, :, None] / 16 - 0.45) / 0.225).astype("float32")
    y = digits.target[:400].astype("int64")

    inputs = keras.Input((8, 8, 1))
    flow = layers.Conv2D(32, 3, padding="same", kernel_initializer="he_normal", use_bias=False)(inputs)
    for filters, stride in ((32, 1), (64, 2), (64, 1)):
        other = flow
        if filters != flow.shape[-1]:
            other = layers.Conv2D(filters, 1, stride, kernel_initializer="he_normal", use_bias=False)(flow)
        for strides in (stride, 1):
            flow = layers.Conv2D(filters, 3, strides, padding="same", kernel_initializer="he_normal", use_bias=False)(
                layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(flow))
            )
        flow = flow + other
    backbone = keras.Model(inputs, layers.GlobalAveragePooling2D()(flow))
    backbone.trainable = False
    bound = 64**-0.5
    weights, biases = (keras.initializers.RandomUniform(-bound, bound) for _ in range(2))
    outputs = layers.Dense(10, kernel_initializer=weights, bias_initializer=biases)(backbone(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.001, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[shown_accuracy(repaired)],
    )
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=20, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
