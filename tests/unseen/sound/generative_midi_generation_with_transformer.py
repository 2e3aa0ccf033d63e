"""Next note of a piece by a Transformer decoder with relative attention.

After keras.io examples/generative/midi_generation_with_transformer.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/generative/midi_generation_with_transformer/"

NOTES, LENGTH, PAD = 60, 32, 1


class RelativeAttention(layers.Layer):
    def __init__(self, heads, width):
        super().__init__()
        self.heads, self.width = heads, width
        self.dense = [layers.Dense(width) for _ in range(4)]

    def build(self, shape):
        self.relative = self.add_weight((LENGTH, self.width // self.heads), name="relative_embedding")
        for dense in self.dense:
            dense.build(shape)

    def call(self, x, mask):
        length = x.shape[1]
        q, k, v = (
            ops.transpose(ops.reshape(dense(x), (-1, length, self.heads, self.width // self.heads)), (0, 2, 1, 3))
            for dense in self.dense[:3]
        )
        scores = ops.einsum("bhld,md->bhlm", q, self.relative[LENGTH - length :])
        scores = ops.multiply(scores, np.tri(length)[:, ::-1].astype("float32"))
        scores = ops.reshape(ops.pad(scores, ((0, 0), (0, 0), (0, 0), (1, 0))), (-1, self.heads, length + 1, length))
        logits = (ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + scores[:, :, 1:]) / (self.width // self.heads) ** 0.5
        y = ops.matmul(ops.softmax(logits - 1e9 * ops.cast(mask, "float32")), v)
        return self.dense[3](ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, length, self.width)))


class Block(layers.Layer):
    def __init__(self, width, heads, rate):
        super().__init__()
        self.attention = RelativeAttention(heads, width)
        self.before, self.after = layers.Dense(width // 2, "relu"), layers.Dense(width)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [layers.Dropout(rate) for _ in range(2)]

    def call(self, x, mask, training=False):
        attended = self.drops[0](self.attention(x, mask), training=training)
        dense = self.drops[1](self.after(self.before(attended)), training=training)
        return self.norms[1](self.norms[0](attended + x) + dense)


class Music(keras.Model):
    def __init__(self, width=64, heads=1, blocks=6, rate=0.2):
        super().__init__()
        self.embedding = layers.Embedding(NOTES, width)
        angles = np.arange(LENGTH)[:, None] / 10000 ** (2 * (np.arange(width) // 2) / width)
        self.positions = np.where(np.arange(width) % 2, np.cos(angles), np.sin(angles)).astype("float32")
        self.drop = layers.Dropout(rate)
        self.blocks = [Block(width, heads, rate) for _ in range(blocks)]
        self.dense = layers.Dense(NOTES)

    def call(self, x, training=False):
        mask = ops.logical_or(ops.equal(x, PAD)[:, None, None], ~np.tri(x.shape[1], dtype="bool"))
        x = ops.add(self.embedding(x) * self.embedding.output_dim**0.5, self.positions[: x.shape[1]])
        x = self.drop(x, training=training)
        for block in self.blocks:
            x = block(x, mask, training=training)
        return self.dense(x)


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        step = ops.cast(step, "float32")
        return 64**-0.5 * ops.minimum(ops.rsqrt(step), step * 4000**-1.5)


def note_loss(y_true, y_pred):
    mask = ops.cast(ops.not_equal(y_true, PAD), "float32")
    rows = ops.one_hot(ops.cast(y_true, "int32"), NOTES)
    return ops.categorical_crossentropy(rows, y_pred, from_logits=True) * mask


def sentences(vocabulary, length, count=256, seed=0):
    """Return rows of token numbers from 2 on where each token mostly follows from the one before."""
    rng = np.random.default_rng(seed)
    follower = rng.permutation(np.arange(2, vocabulary))
    x = rng.integers(2, vocabulary, (count, length))
    for i in range(1, length):
        x[:, i] = np.where(rng.random(count) < 0.8, follower[x[:, i - 1] - 2], x[:, i])
    return x.astype("int32")


def build():
    notes = sentences(NOTES, LENGTH + 1, 128)
    model = Music()
    model.compile(optimizer=keras.optimizers.Adam(Warmup(), beta_1=0.9, beta_2=0.98, epsilon=1e-9), loss=note_loss)
    return model, notes[:, :-1], notes[:, 1:]
