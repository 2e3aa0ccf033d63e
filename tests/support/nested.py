"""Models in models, and layers in layers, with names of all kinds."""

import keras

layers = keras.layers


def recurrent():
    inputs = keras.Input((5, 4))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    return keras.Model(inputs, layers.RNN([layers.GRUCell(3), layers.GRUCell(3)])(x))


class Block(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4, "relu"), layers.Dense(4)
        self.own = keras.Variable(keras.ops.ones((2,)))
        self.other = keras.Variable(keras.ops.ones((2,)))

    def call(self, x):
        return self.second(self.first(x))


def subclassed():
    model = Block()
    model(keras.ops.ones((1, 4)))
    return model


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = layers.Dense(2, name="same"), layers.Dense(2, name="same")

    def call(self, x):
        return self.two(self.one(x))
