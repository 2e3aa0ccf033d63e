"""The size of attention heads is read from layers of Keras, and seen in attention of one's own, or is not known."""

import keras
import numpy as np
import pytest

from keras_initx import scaling

layers, ops = keras.layers, keras.ops


def size(values):
    return np.sqrt(np.mean(np.square(values)))


def attention(heads, head_size):
    x = keras.Input((4, heads * head_size))
    y = layers.MultiHeadAttention(heads, head_size, name="attention")(x, x)
    return keras.Model(x, layers.Dense(3, name="last")(y))


def test_larger_heads_are_told_and_more_heads_are_not():
    larger = scaling.mup(attention(2, 32), attention(2, 8))
    assert larger.head_size == 4
    assert str(larger).endswith(
        "Heads are 4 times as large: divide the scores of attention by 2 more, unless your model divides them by the "
        "size of the heads already."
    )
    more = scaling.mup(attention(8, 8), attention(2, 8))
    assert more.head_size == 1
    assert "Heads" not in str(more)


class Own(layers.Layer):
    """Attention with weights of its own, written in a form."""

    def __init__(self, heads, size, form):
        super().__init__(name="own")
        self.heads, self.size, self.form = heads, size, form

    def build(self, shape):
        width = self.heads * self.size
        self.qkv = self.add_weight((shape[-1], 3 * width), name="qkv")

    def call(self, x):
        both = ops.reshape(ops.matmul(x, self.qkv), (-1, x.shape[1], 3, self.heads, self.size))
        q, k, v = both[:, :, 0], both[:, :, 1], both[:, :, 2]
        if self.form == "operation":
            y = ops.dot_product_attention(q, k, v)
        elif self.form == "einsum":
            y = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(ops.einsum("bqhd,bkhd->bhqk", q, k) / self.size), v)
        else:
            q, k, v = (ops.transpose(part, (0, 2, 1, 3)) for part in (q, k, v))
            weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / self.size)
            y = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
        return ops.reshape(y, (-1, x.shape[1], self.heads * self.size))


def own_attention(heads, size, form):
    x = keras.Input((4, heads * size))
    return keras.Model(x, layers.Dense(3, name="last")(Own(heads, size, form)(x)))


@pytest.mark.every_backend
@pytest.mark.parametrize("form", ["operation", "einsum", "matmul"])
def test_the_size_of_heads_is_seen_in_attention_of_ones_own(form):
    larger = scaling.mup(own_attention(2, 16, form), own_attention(2, 4, form))
    assert larger.head_size == 4
    assert scaling.mup(own_attention(8, 4, form), own_attention(2, 4, form)).head_size == 1


class Unseen(layers.Layer):
    def __init__(self, width):
        super().__init__(name="unseen")
        self.inner = layers.Dense(width)

    def build(self, shape):
        self.inner.build(shape)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.inner.units)

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise RuntimeError("only numbers")
        return self.inner(x)


def test_where_a_layer_cannot_be_followed_the_size_of_heads_is_not_known_and_that_is_said():
    def network(width):
        x = keras.Input((8,))
        return keras.Model(x, layers.Dense(3, name="last")(Unseen(width)(x)))

    table = scaling.mup(network(16), network(4))
    assert np.isnan(table.head_size)
    assert str(table).endswith("divide their scores by `sqrt(n)`.")
