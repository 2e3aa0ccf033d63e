"""A layer has the weights that no layer in it has."""

import keras

from keras_initx.inspection._names import list_own_weights

layers = keras.layers


def test_the_weights_of_a_layer_are_those_that_no_layer_in_it_has():
    class Around(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.own = self.add_weight((2,), name="own")

        def call(self, x):
            return self.dense(x)

    layer = Around()
    layer(keras.ops.ones((1, 4)))
    assert [weight.name for weight in list_own_weights(layer)] == ["own"]
    assert len(layer.weights) == 3
