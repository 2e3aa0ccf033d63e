"""A first loss is compared with that of a blind guess."""

import keras
import numpy as np
import pytest
from judged import X, mlp

import keras_initx


def test_targets_that_are_all_the_same_have_no_first_loss_to_compare_with():
    assert keras_initx.diagnose(mlp("relu", depth=1), X, np.ones((256, 5)), loss="mse").ok


def problems(model, x, y):
    return [verdict.problem for verdict in keras_initx.diagnose(model, x, y, loss="mse").verdicts]


def test_inputs_that_are_too_large_are_named_and_not_the_loss_that_they_cause():
    assert problems(mlp("relu", depth=1), 30 * X, X[:, :5]) == ["unscaled inputs"]


def test_targets_far_from_zero_are_named_beside_inputs_that_are_too_large():
    assert problems(mlp("relu", depth=1), 30 * X, 1000 + X[:, :5])[:2] == ["unscaled inputs", "large first loss"]


def test_a_loss_of_one_output_by_its_targets_is_named_beside_a_larger_one_by_the_inputs():
    inputs = keras.Input((X.shape[1],))
    kernel = keras_initx.RandomNormal(2.0, seed=0)
    outputs = [keras.layers.Dense(5, kernel_initializer=kernel, name="a")(inputs)]
    outputs.append(keras.layers.Dense(5, kernel_initializer="zeros", name="b")(inputs))
    y = [X[:, :5], 100 + X[:, :5]]
    verdicts = keras_initx.diagnose(keras.Model(inputs, outputs), 30 * X, y, loss=["mae", "mae"]).verdicts
    assert [verdict.layers for verdict in verdicts if verdict.problem == "large first loss"] == [("b",)]


def test_large_inputs_that_are_normalized_leave_the_last_layer_as_the_cause():
    model = keras.Sequential(
        [
            keras.Input((X.shape[1],)),
            keras.layers.Dense(16),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(5, kernel_initializer=keras_initx.RandomNormal(10.0)),
        ]
    )
    unscaled, first_loss = keras_initx.diagnose(model, 30 * X, X[:, :5], loss="mse").verdicts[::-1]
    assert (unscaled.problem, unscaled.level) == ("unscaled inputs", "note")
    assert first_loss.problem == "large first loss"
    assert "smaller weights in the last layer" in first_loss.remedy.text


@pytest.mark.parametrize(("unit", "expected"), [(255.0, []), (1.0, ["large first loss"])])
def test_a_model_may_scale_its_outputs_to_the_targets_but_not_beyond_them(unit, expected):
    inputs = keras.Input((X.shape[1],))
    outputs = keras.layers.Rescaling(255.0)(keras.layers.Dense(5)(keras.layers.Dense(16, "relu")(inputs)))
    y = unit / (1 + np.exp(-X[:, :5]))
    verdicts = keras_initx.diagnose(keras.Model(inputs, outputs), X, y, loss="mae").verdicts
    assert [verdict.problem for verdict in verdicts] == expected


class LanguageModel(keras.Model):
    """A model whose outputs are products with the rows of its embedding."""

    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = table, head
        self.norm, self.hidden = keras.layers.LayerNormalization(), keras.layers.Dense(64)

    def call(self, tokens):
        return self.head(self.table, self.norm(self.hidden(self.table(tokens))))


# Keras itself warns of the model.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "head", "remedy"),
    [
        (
            "Embedding",
            lambda table, x: keras.ops.matmul(x, keras.ops.transpose(table.embeddings)),
            "divide by the square root of the number of units",
        ),
        (
            "ReversibleEmbedding",
            lambda table, x: table(x, reverse=True),
            "draw smaller weights in the last layer: keras_initx.GlorotUniform()",
        ),
    ],
    ids=["product", "layer"],
)
def test_a_table_that_makes_the_outputs_too_may_have_too_large_rows(kind, head, remedy):
    if not hasattr(keras.layers, kind):
        pytest.skip("this Keras has no such layer")
    keras.utils.set_random_seed(0)
    table = getattr(keras.layers, kind)(50, 64, embeddings_initializer=keras_initx.RandomNormal(stddev=4.0))
    model = LanguageModel(table, head)
    tokens = np.random.default_rng(0).integers(0, 50, (16, 13))
    model(tokens[:, :-1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, tokens[:, :-1], tokens[:, 1:], loss=loss)
    (verdict,) = report.problems
    assert verdict.problem == "large first loss"
    assert remedy in verdict.remedy.text
    if verdict.remedy.rules:
        keras_initx.initialize(model, report, seed=0)
        assert keras_initx.diagnose(model, tokens[:, :-1], tokens[:, 1:], loss=loss).ok
