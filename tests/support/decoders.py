"""Decoders of which some positions or names are of their own."""

import keras

layers, ops = keras.layers, keras.ops
WIDTH, LENGTH = 8, 6


def decoder(named, blocks=3):
    """Return a decoder in which some feed-forward networks have the names of KerasHub."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(20, WIDTH)(ids)
    for block in range(blocks):
        normed = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 4, name=f"b{block}_attention")(normed, normed)
        hidden = layers.Dense(16, "gelu", name=f"b{block}_up")(layers.LayerNormalization()(x))
        end = layers.Dense(WIDTH, name="feedforward_output_dense" if block < named else "down")
        x = x + keras.Sequential([end], name=f"b{block}_mlp")(hidden)
    return keras.Model(ids, layers.Dense(20, name="head")(layers.LayerNormalization()(x)))


class Positions(keras.Model):
    """A decoder with positions of its own, of which it adds a part."""

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.tokens = layers.Embedding(20, WIDTH)
        self.where = self.add_weight(shape=(LENGTH, WIDTH), name="where")
        self.table = layers.Embedding(LENGTH, WIDTH, name="table")
        self.norm, self.attention = layers.LayerNormalization(), layers.MultiHeadAttention(2, 4)

    def build(self, shape):
        for layer, of in ((self.tokens, shape), (self.table, shape), (self.norm, (*shape, WIDTH))):
            layer.build(of)
        self.attention.build((*shape, WIDTH), (*shape, WIDTH))

    def call(self, ids):
        x = self.tokens(ids) + self.part(self, ops.shape(ids)[1])
        normed = self.norm(x)
        return x + self.attention(normed, normed)


PARTS = {
    "whole": (lambda model, length: model.where, "where"),
    "sliced": (lambda model, length: model.where[:length], "where"),
    "taken": (lambda model, length: ops.take(model.where, ops.arange(length), axis=0), "where"),
    "expanded": (lambda model, length: ops.expand_dims(model.where, 0), "where"),
    "embedded": (lambda model, length: model.table(ops.arange(length)), "table/embeddings"),
}
