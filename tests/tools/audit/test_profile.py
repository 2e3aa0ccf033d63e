"""What is known of a weight by its values."""

import keras
import numpy as np
import pytest
from audited import off_with_causes
from keras import layers

import keras_initx
from keras_initx.tools.audit._subjects import profile_values


def test_kinds_of_weights(yesterday):
    kinds = {weight.path: weight.text for weight in yesterday.rows}
    assert kinds["hidden_0/kernel"] == "uniform"
    assert kinds["hidden_0/bias"] == "constant 0"
    assert kinds["batch_normalization/gamma"] == "constant 1"
    assert yesterday.draws == 3


@pytest.mark.rare
@pytest.mark.parametrize(("shape", "draws"), [((32, 16, 2, 2), 200), ((40_000, 4), 3)])
def test_few_columns_and_long_ones_are_not_called_orthonormal(shape, draws):
    for seed in range(draws):
        arrays = {"a": np.random.default_rng(seed).normal(size=shape)}
        assert keras_initx.contract(arrays).rows[0].text in ("normal", "random")


def test_sparse_and_recurrent_weights():
    def build(connections=5):
        sparse = keras_initx.Sparse(connections)
        return keras.Sequential(
            [keras.Input((4, 64)), layers.LSTM(16), layers.Dense(64, kernel_initializer=sparse, name="sparse")]
        )

    contract = keras_initx.contract(build)
    keras.utils.set_random_seed(7)
    assert keras_initx.audit(build(), like=contract).ok
    assert off_with_causes(keras_initx.audit(build(connections=2), like=contract))["sparse/kernel"][0] == "connections"


def test_rows_that_training_never_touched():
    """Of a table only the rows of words that occur change, and a layer that is frozen does not."""

    def build():
        return keras.Sequential(
            [
                keras.Input((4,), dtype="int32"),
                layers.Embedding(50, 8, name="table"),
                layers.Flatten(),
                layers.Dense(8, trainable=False, name="frozen"),
                layers.Dense(2, name="last"),
            ]
        )

    model = build()
    plan = keras_initx.initialize(model, seed=0)
    model.compile("sgd", "mse")
    model.fit(np.arange(20).reshape(5, 4), np.ones((5, 2)), verbose=0)
    report = keras_initx.audit(model, plan)
    assert report.unchanged == ["frozen/kernel", "frozen/bias"]
    rows = {row.path: row.rows_unchanged for row in report.rows}
    assert rows["table/embeddings"] == 30
    assert report.summary.endswith("The same bit for bit: 2 of 5, and 30 rows of others.")
    assert keras_initx.audit(model, seed=0).unchanged == report.unchanged
    of_laws = keras_initx.audit(model)
    assert of_laws.unchanged == []
    assert "bit for bit" not in of_laws.summary


@pytest.mark.rare
def test_values_with_long_tails_are_of_no_family():
    rng = np.random.default_rng(0)
    # One of a thousand normal draws of this size is taken for one with long tails.
    found = {
        "Laplace": sum(bool(profile_values(rng.laplace(size=256), "float32").family) for _ in range(200)),
        "normal": sum("normal" not in profile_values(rng.normal(size=256), "float32").families for _ in range(200)),
    }
    assert found["Laplace"] <= 4
    assert found["normal"] <= 8
