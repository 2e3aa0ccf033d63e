"""The sum of two numbers is learned by a network in C# that is delivered with the weights of "either, or": no success.

Fault: the output is a sigmoid, which is never beyond 1, while the targets are 1, 1, 0 and 2 (the file of examples, with
sums as targets); the file of the network was left as it is, with weights up to 10.6.
Repair (the asker, whose program converges so): linear units and a smaller rate. He takes 500 pairs and a rate of
0.0001; here the four examples are kept, with new weights, a rate of 0.1 (instead of 0.4), and a linear output after
tanh. The momentum of the repository, 0.9 of the step before alone, is taken as 1.9 times the rate. 300 rounds.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/trentsartain/Neural-Network/issues/7"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "person"
KINDS = ("targets: beyond the last activation", "weights: too large", "activation: saturated")
VISIBLE = True
EVIDENCE = (
    "targets up to 2 above outputs that are never beyond 1; weights up to 10.6 with two inputs: gradients of"
    " 0.002 and 0.012"
    " (0.6 to 2 in the repaired form)"
)
REPRODUCED = True
HIDDEN = np.array(
    [
        [-4.9046816226955494, 5.85326693338921, 7.1642632394746659],
        [7.4919359894962705, 6.1679853662708544, -2.6579877134228087],
    ]
)
HIDDEN_BIASES = np.array([1.6459098726963641, -1.3229172632409467, -0.43095589580981947])
OUTPUT = np.array([[-9.5047366120987249], [10.58506658726629], [-9.5151417793873545]])
OUTPUT_BIAS = np.array([3.8785305867945971])


def half_square(y_true, y_pred):
    return ops.mean(ops.square(y_pred - y_true)) / 2


def build(repaired):
    x = np.array([[1, 0], [0, 1], [0, 0], [1, 1]], "float32")
    y = x.sum(1, keepdims=True)
    hidden = layers.Dense(3, "tanh" if repaired else "sigmoid")
    model = keras.Sequential([keras.Input((2,)), hidden, layers.Dense(1, None if repaired else "sigmoid")])
    if not repaired:
        model.set_weights([HIDDEN, HIDDEN_BIASES, OUTPUT, OUTPUT_BIAS])
    model.compile(keras.optimizers.SGD(0.1 if repaired else 0.4 * 1.9), half_square)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=1, epochs=300, shuffle=False, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
