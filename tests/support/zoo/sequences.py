"""Transformers and recurrent networks, also adapted and quantized."""

import keras
from keras import layers

from keras_initx._keras import list_layers
from zoo import CLASSES, ZEROS, normal, tokens


def transformer(hidden, blocks, *, causal=False, end="glorot_uniform"):
    width = hidden.shape[-1]
    for _ in range(blocks):
        normalized = layers.LayerNormalization()(hidden)
        attention = layers.MultiHeadAttention(4, width // 4)
        hidden = hidden + layers.Dropout(0.1)(attention(normalized, normalized, use_causal_mask=causal))
        branch = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(hidden))
        hidden = hidden + layers.Dropout(0.1)(layers.Dense(width, kernel_initializer=end)(branch))
    return layers.LayerNormalization()(hidden)


class Positions(layers.Layer):
    """A learned embedding of positions, which is added."""

    def __init__(self, initializer):
        super().__init__()
        self.initializer = initializer

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=self.initializer, name="table")

    def call(self, inputs):
        return inputs + self.table


def gpt(end="glorot_uniform"):
    inputs = keras.Input((12,), dtype="int32")
    embedding = layers.ReversibleEmbedding(50, 32, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02))
    hidden = Positions(keras.initializers.RandomNormal(stddev=0.02))(embedding(inputs))
    outputs = embedding(transformer(hidden, 3, causal=True, end=end), reverse=True)
    x = tokens(8, 13)
    return keras.Model(inputs, outputs), x[:, :-1], x[:, 1:], CLASSES


def stateful_lstm():
    stack = [layers.LSTM(16, stateful=True, return_sequences=True), layers.LSTM(16, stateful=True), layers.Dense(3)]
    model = keras.Sequential([keras.Input(batch_shape=(8, 6, 4)), *stack])
    model(normal(8, 6, 4))  # states that are not zero
    return model, normal(8, 6, 4), normal(8, 3), "mse"


def translator():
    source, target = keras.Input((8,), dtype="int32"), keras.Input((7,), dtype="int32")
    encoded, forward, backward = layers.Bidirectional(layers.GRU(16, return_sequences=True, return_state=True))(
        layers.Embedding(50, 16, mask_zero=True)(source)
    )
    decoded = layers.GRU(32, return_sequences=True)(
        layers.Embedding(50, 16)(target), initial_state=layers.Concatenate()([forward, backward])
    )
    attended = layers.Attention()([layers.Dense(32)(decoded), encoded])
    outputs = layers.TimeDistributed(layers.Dense(50))(layers.Concatenate()([decoded, attended]))
    return keras.Model([source, target], outputs), [tokens(8, 8), tokens(8, 7)], tokens(8, 7), CLASSES


def lora():
    model, *data = gpt()
    for layer in list_layers(model):
        if isinstance(layer, layers.Dense | layers.EinsumDense | layers.Embedding) and layer.built:
            layer.enable_lora(2)
    return model, *data


def quantized():
    model, *data = gpt()
    model.quantize("int8")
    return model, *data


ZOO = {
    "gpt": (gpt, set()),
    "gpt, branches that end in zeros": (lambda: gpt("zeros"), ZEROS),
    "stateful lstm": (stateful_lstm, set()),
    "translator": (translator, set()),
    "lora": (lora, set()),  # which starts at zero by intention
    "int8": (quantized, set()),
}


# With attention, states, loops, masks, and what is adapted or quantized.
EVERYWHERE = ("gpt", "stateful lstm", "translator", "lora", "int8")
