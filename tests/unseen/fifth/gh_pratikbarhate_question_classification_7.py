"""Questions, as counts of words, are classified by a network with one hidden layer: it does not learn.

Fault: the binarizer for several labels takes the string of a class for a list of characters, of which the loss takes
the first one that is there, always the space; the outputs go through relu (twice); and no step of the optimizer (LBFGS
with a rate of 0.0001) is taken. A pull request mends all of that: "multilabel was not working, strings were split into
individual characters", "fixed loss function, output activation function softmax, used better optimizer".
Repair: single labels, no activation before the cross-entropy of logits (the pull request has a softmax there, which is
one too many), steps of Adam of 0.001, and 500 hidden units instead of 50000 (1000 here). 12 epochs instead of 750 in
batches of 128. Drawn questions of 9 words of 600, three of them from those of a class; 50 classes. SGD stands for
LBFGS, which takes no step. The score is the accuracy on the questions themselves.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops
from sklearn.preprocessing import LabelBinarizer, MultiLabelBinarizer

URL = "https://github.com/PratikBarhate/question-classification/pull/7"
YEAR = 2020
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = (
    "labels: form does not fit the loss or the output",
    "activation: missing or wrong",
    "optimizer: settings and precision",
    "other",
)
VISIBLE = True
EVIDENCE = (
    "each row of the labels has 9 to 12 ones, for 37 characters (one, for 50 classes, in the repaired form), of"
    " which the loss takes the first, the same for all examples; the outputs end in relu, and half of them are"
    " zero. That no step is taken is in the training, not in the model"
)
REPRODUCED = True
CLASSES, WORDS = 50, 600


def entropy(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(ops.argmax(y_true, -1), y_pred, from_logits=True)


def dense(units, inputs, activation=None):
    def uniform():
        return keras.initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)

    return layers.Dense(units, activation, kernel_initializer=uniform(), bias_initializer=uniform())


def build(repaired):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, CLASSES, 2000)
    own = rng.integers(0, 300, (CLASSES, 6))
    x = np.zeros((len(numbers), WORDS))
    for row, number in enumerate(numbers):
        for word in (*rng.choice(own[number], 3), *rng.integers(300, WORDS, 6)):
            x[row, word] += 1
    coarse = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    fine = ["".join(rng.choice(list("abcdefghilmnoprstuvy"), 6)) for _ in range(CLASSES)]
    names = [f"{coarse[number % 6]} :: {fine[number]}" for number in numbers]
    units = 500 if repaired else 1000
    model = keras.Sequential(
        [
            keras.Input((WORDS,)),
            dense(units, WORDS, "relu"),
            dense(CLASSES, units, None if repaired else "relu"),
        ]
    )
    if not repaired:
        model.add(layers.Activation("relu"))
    model.compile(keras.optimizers.Adam(0.001) if repaired else keras.optimizers.SGD(0.0001), entropy)
    binarizer = LabelBinarizer() if repaired else MultiLabelBinarizer()
    y = binarizer.fit_transform(names)
    places = {name: place for place, name in enumerate(binarizer.classes_)} if repaired else {}
    model.numbers = np.array([places.get(name, number) for name, number in zip(names, numbers, strict=True)])
    model.steps = repaired
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    if model.steps:
        model.fit(x, y, batch_size=128, epochs=12, verbose=0)
    else:  # the gradients are computed, and no step is taken
        model.evaluate(x, y, batch_size=50, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), model.numbers)
