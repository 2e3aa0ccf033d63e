"""Labels that a loss cannot mean are named."""

import keras
import numpy as np
from keras import layers
from last_layers import DRAWS, X, problems


def test_what_a_mask_leaves_out_may_have_any_label():
    tokens = DRAWS.integers(1, 20, (16, 6))
    tokens[:, 4:] = 0
    stack = [layers.Embedding(20, 8, mask_zero=True), layers.Dense(4, "softmax")]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *stack])
    y = np.where(tokens == 0, 3, tokens % 3)
    # Too many classes for these units.
    few = keras.Sequential([keras.Input((6,), dtype="int32"), stack[0], layers.Dense(3, "softmax")])
    assert problems(model, y, "sparse_categorical_crossentropy", x=tokens) == []
    assert problems(few, y + 1, "sparse_categorical_crossentropy", x=tokens) == ["unsuitable labels"]


def test_one_target_for_all_positions_may_be_meant_where_it_is_always_the_same():
    patches = keras.Sequential([keras.Input((8,)), layers.Reshape((4, 2)), layers.Dense(1)])
    assert problems(patches, np.ones((64, 1)), "mse") == []
    assert problems(patches, X[:, :1], "mse") == ["unsuitable labels"]
