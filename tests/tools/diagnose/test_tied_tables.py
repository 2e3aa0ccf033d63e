"""Tables of embeddings whose rows make the outputs too."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx

# Keras itself warns of one of the faults.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class LanguageModel(keras.Model):
    def __init__(self, table, head):
        super().__init__()
        self.table, self.head = table, head
        self.norm, self.hidden = layers.LayerNormalization(), layers.Dense(64)

    def call(self, tokens):
        return self.head(self.table, self.norm(self.hidden(self.table(tokens))))


def product(table, x):
    return keras.ops.matmul(x, keras.ops.transpose(table.embeddings))


def functional(table, head):
    inputs = keras.Input((12,))  # of floats
    return keras.Model(inputs, head(table, layers.LayerNormalization()(table(inputs))))


def reverse(table, x):
    return table(x, reverse=True)


@pytest.mark.release_backends
@pytest.mark.parametrize(("make", "head"), [(LanguageModel, product), (LanguageModel, reverse), (functional, reverse)])
def test_the_rows_of_a_tied_table_are_made_smaller(make, head):
    if head is reverse and not hasattr(layers, "ReversibleEmbedding"):
        pytest.skip("this Keras has no such layer")
    keras.utils.set_random_seed(0)
    kind = layers.Embedding if head is product else layers.ReversibleEmbedding
    table = kind(50, 64, embeddings_initializer=keras.initializers.RandomNormal(stddev=4.0), name="words")
    model = make(table, head)
    tokens = np.random.default_rng(0).integers(0, 50, (16, 13))
    x, y = tokens[:, :-1], tokens[:, 1:]
    model(x)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    report = keras_initx.diagnose(model, x, y, loss=loss)
    (verdict,) = report.problems
    assert "products with rows of words/embeddings, whose standard deviation is " in verdict.evidence
    assert verdict.remedy.text == "draw smaller rows of words/embeddings: keras_initx.RandomNormal(64 ** -0.5)"
    keras_initx.initialize(model, report, seed=0)
    assert keras_initx.diagnose(model, x, y, loss=loss).ok
