"""Labels that a loss cannot mean are named."""

import keras
import numpy as np
import pytest
from keras import layers
from last_layers import DRAWS, X, problems

import keras_initx


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


OF_OTHER_FORM = {
    "rows": ("sparse_categorical_crossentropy", np.eye(5)[np.arange(32) % 5], "CategoricalCrossentropy()"),
    "rows of positions": (
        "sparse_categorical_crossentropy",
        np.eye(5)[np.arange(128).reshape(32, 4) % 5],
        "y.argmax(axis=-1)",
    ),
    "shares": ("sparse_categorical_crossentropy", np.full((32, 5), 0.2), "CategoricalCrossentropy()"),
    "numbers": ("categorical_crossentropy", np.arange(32) % 5, "SparseCategoricalCrossentropy()"),
    "a column": ("categorical_crossentropy", np.arange(32)[:, None] % 5, "one_hot(y, 5)"),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", OF_OTHER_FORM)
def test_labels_that_keras_refuses_for_their_form_are_named(name):
    loss, y, remedy = OF_OTHER_FORM[name]
    leading = y.shape[:-1] if y.ndim > 1 else y.shape
    x = np.random.default_rng(0).normal(size=(*leading, 6))
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(5, "softmax", name="out")])
    (verdict,) = keras_initx.diagnose(model, x, y, loss=loss).problems
    assert (verdict.problem, verdict.level, verdict.layers) == ("unsuitable labels", "error", ("out",))
    assert remedy in verdict.remedy.text
