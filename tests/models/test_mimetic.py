"""The kernels of attention layers make products close to multiples of the identity."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize, recipes
from keras_initx.models._weights import find_weights

layers = keras.layers
SIZE, HEADS = 64, 4
QUERY = [0.147305, 0.05605, 0.035556]
OUTPUT = [0.258784, -0.148616, 0.192761]


def transformer(heads=HEADS, width=SIZE // HEADS, attention=None):
    tokens = x = keras.Input((6, SIZE))
    for number in range(2):
        layer = attention or layers.MultiHeadAttention(heads, width, name=f"block_{number}")
        x = layers.Add()([x, layer(x, x)])
    return keras.Model(tokens, x)


def kernels(seed=0, model=None):
    """Return the four kernels of each attention layer by name."""
    model = model or transformer()
    initialize(model, recipes.mimetic(model), seed=seed)
    found = {}
    for weight in find_weights(model):
        layer, part, name = weight.path.split("/")
        if name == "kernel":
            found.setdefault(layer, {})[part] = to_numpy(weight.variable)
    return list(found.values())


def test_queries_meet_keys_like_them():
    first, _ = kernels()
    for head in range(HEADS):
        query, key = first["query"][:, head].astype("float64"), first["key"][:, head].astype("float64")
        product = query @ key.T
        singular = np.linalg.svd(product, compute_uv=False)
        assert np.linalg.matrix_rank(product, tol=1e-4) == SIZE // HEADS
        np.testing.assert_allclose((query**2).sum(axis=0), singular[: SIZE // HEADS], rtol=1e-4)
        np.testing.assert_allclose((key**2).sum(axis=0), singular[: SIZE // HEADS], rtol=1e-4)
        assert 0.2 < np.trace(product) / SIZE < 0.5  # 0.7, of which the head keeps the largest part


def test_a_head_as_large_as_the_embeddings_keeps_all():
    first, _ = kernels(model=transformer(1, SIZE))
    product = first["query"][:, 0] @ first["key"][:, 0].T
    noise = (product - 0.7 * np.eye(SIZE)) / 0.7
    assert np.trace(product) / SIZE == pytest.approx(0.7, abs=0.05)
    assert noise.std() * SIZE**0.5 == pytest.approx(1, abs=0.05)


def test_values_go_out_with_the_other_sign():
    first, _ = kernels()
    product = first["value"].reshape(SIZE, SIZE) @ first["attention_output"].reshape(SIZE, SIZE)
    noise = (product + 0.4 * np.eye(SIZE)) / 0.4
    assert np.trace(product) / SIZE == pytest.approx(-0.4, abs=0.05)
    assert noise.std() * SIZE**0.5 == pytest.approx(1, abs=0.05)


def test_heads_layers_and_seeds_differ():
    first, second = kernels(0)
    other, _ = kernels(1)
    for name in first:
        assert not np.allclose(first[name], second[name])
        assert not np.allclose(first[name], other[name])
    assert not np.allclose(first["query"][:, 0], first["query"][:, 1])
    assert not np.allclose(first["query"].reshape(SIZE, SIZE), first["value"].reshape(SIZE, SIZE))
    np.testing.assert_array_equal(first["query"], kernels(0)[0]["query"])


def test_backends_agree():
    first, _ = kernels()
    np.testing.assert_allclose(first["query"][0, 0, :3], QUERY, atol=1e-5)
    np.testing.assert_allclose(first["attention_output"][0, :3, 0], OUTPUT, atol=1e-5)


def test_two_layers_with_one_seed_are_refused(monkeypatch):
    monkeypatch.setattr("keras_initx.models._initialize.derived_seed", lambda root, path: 7)
    model = transformer()
    with pytest.raises(ValueError, match=r"`seed` must give .* different seeds"):
        initialize(model, recipes.mimetic(model), seed=0)


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transformer(4, 32), "together no larger than the embeddings.*'block_0/attention_output/kernel'"),
        (lambda: transformer(attention=layers.MultiHeadAttention(2, 8, 16, name="a")), "as many heads of one size"),
        (lambda: transformer(attention=layers.GroupQueryAttention(8, 4, 2, name="a")), "as many heads of one size"),
        (lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2)]), r"match '\*/query/kernel'.*your own rules"),
    ],
)
def test_refuses_what_it_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        recipes.mimetic(make())
