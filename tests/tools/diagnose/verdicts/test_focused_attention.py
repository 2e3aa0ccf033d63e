"""The weights that a softmax inside a model gives are seen wherever they are computed."""

import threading

import keras
import numpy as np
import pytest
from asked import asked
from judged import SEQUENCES as OTHERS
from judged import X, found
from keras import layers, ops
from modes import to_numpy

from keras_initx.tools.diagnose._attention import AttentionProbe

SEQUENCES = np.random.default_rng(0).normal(size=(4, 10, 16)).astype("float32")
# The last queries have three keys.
MASK = np.arange(10) < np.reshape([8] * 6 + [3] * 4, (10, 1))


class Attention(layers.Layer):
    """Attend with scores that are not divided, in code of its own, by a function of Keras."""

    def __init__(self, softmax, masked=False):
        super().__init__()
        self.softmax, self.masked = softmax, masked
        self.own = layers.Softmax()
        self.q, self.k = layers.Dense(16, name="q"), layers.Dense(16, name="k")

    def build(self, shape):
        self.q.build(shape)
        self.k.build(shape)

    def call(self, inputs):
        if self.softmax == "fast":
            queries, keys, values = (part[:, :, None] for part in (self.q(inputs), self.k(inputs), inputs))
            return ops.dot_product_attention(queries, keys, values, scale=1.0)[:, :, 0]
        scores = ops.matmul(self.q(inputs), ops.transpose(self.k(inputs), (0, 2, 1)))
        if self.masked:
            scores = ops.where(MASK, scores, -1e9)
        if self.softmax == "ops":
            weights = ops.softmax(scores)
        elif self.softmax == "activations":
            weights = keras.activations.softmax(scores)
        else:
            weights = self.own(scores)
        return ops.matmul(weights, inputs)


def focus_of(model, x=SEQUENCES):
    """Return the focus of each layer that has one."""

    def focus(of):
        found = of.probe(AttentionProbe).focus
        return {of.watch.layers[layer].rpartition("/")[2]: value for layer, value in found.items()}

    return asked(focus, model, x)


def expected(model, masked=False):
    """Return the largest weights of queries of at least four keys, as a mean."""
    kernels = {weight.path.split("/")[-2]: to_numpy(weight) for weight in model.weights if weight.name == "kernel"}
    scores = (SEQUENCES @ kernels["q"]) @ np.swapaxes(SEQUENCES @ kernels["k"], 1, 2)
    if masked:
        scores = np.where(MASK, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares.max(axis=-1)[(shares > 0).sum(axis=-1) >= 4].mean()


@pytest.mark.parametrize("softmax", ["ops", "activations", "layer", "fast"])
def test_attention_of_its_own_has_the_weights_that_it_computes(softmax):
    model = keras.Sequential([keras.Input((10, 16)), Attention(softmax), layers.Dense(2)])
    assert focus_of(model) == {"q": pytest.approx(expected(model), rel=1e-3)}


def test_queries_whose_keys_are_masked_are_left_out():
    model = keras.Sequential([keras.Input((10, 16)), Attention("ops", masked=True), layers.Dense(2)])
    assert focus_of(model) == {"q": pytest.approx(expected(model, masked=True), rel=1e-3)}


@pytest.mark.parametrize("how", ["asked for the weights", "operations", "layer of Keras"])
def test_attention_between_layers_is_that_of_the_layer_that_makes_the_queries(how):
    inputs = keras.Input((10, 16))
    queries, keys = layers.Dense(16, name="q")(inputs), layers.Dense(16, name="k")(inputs)
    if how == "operations":
        weights = ops.softmax(ops.matmul(queries, ops.transpose(keys, (0, 2, 1))))
        hidden = ops.matmul(weights, inputs)
    elif how == "layer of Keras":
        hidden = layers.Attention()([queries, inputs, keys])
    else:
        hidden, _ = layers.Attention()([queries, inputs, keys], return_attention_scores=True)
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    assert focus_of(model) == {"q": pytest.approx(expected(model), rel=1e-3)}


@pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning")
@pytest.mark.parametrize("place", ["inside", "output", "loss"])
def test_a_softmax_of_one_is_seen_inside_the_model_only(place):
    inputs = keras.Input((16,))
    made = layers.Dense(1, name="shares")
    shares = made(inputs)
    if place == "inside":
        shares = ops.softmax(shares)
        shares = layers.Dense(3)(shares * layers.Dense(8)(inputs))
    elif place == "output":
        shares = ops.softmax(shares)

    def loss(y, outputs):
        return ops.mean(ops.softmax(outputs), axis=-1)

    model = keras.Model(inputs, shares)
    found = asked(lambda of: of.probe(AttentionProbe).of_one, model, SEQUENCES[:, 0], np.zeros(4), loss=loss)
    assert found == ({made} if place == "inside" else set())


def test_a_softmax_of_another_thread_is_not_watched():
    def in_a_thread(inputs):
        thread = threading.Thread(target=ops.softmax, args=(100 * inputs,))
        thread.start()
        thread.join()
        return inputs

    hidden = layers.Lambda(in_a_thread, output_shape=(10, 16))
    model = keras.Sequential([keras.Input((10, 16)), layers.Dense(16), hidden, layers.Dense(2)])
    softmax = ops.softmax
    assert focus_of(model) == {}
    assert ops.softmax is softmax


def focuses(of):
    """Return the focus of each attention of a diagnosis."""
    return list(of.probe(AttentionProbe).focus.values())


def test_a_query_is_compared_with_the_keys_of_its_group():
    inputs, few = keras.Input((10, 16)), OTHERS[:4]
    model = keras.Model(inputs, layers.GroupQueryAttention(8, 4, 2)(inputs, inputs))
    kernels = {weight.path.split("/")[-2]: to_numpy(weight) for weight in model.weights if weight.name == "kernel"}
    queries, keys = (np.einsum("bpi,ihd->bphd", few, kernels[name]) for name in ("query", "key"))
    of_each_head = keys[:, :, [0, 0, 1, 1]]
    shares = np.exp(np.einsum("bqhd,bkhd->bhqk", queries, of_each_head) / 8**0.5)
    shares /= shares.sum(axis=-1, keepdims=True)
    (focus,) = asked(focuses, model, few)
    assert focus == pytest.approx(shares.max(axis=-1).mean(), rel=1e-4)


def test_attention_that_is_called_twice_has_the_focus_of_the_last_call():
    inputs = keras.Input((10, 16))
    attention = layers.MultiHeadAttention(2, 8)
    attended = attention(inputs, inputs)
    model = keras.Model(inputs, attention(0 * attended, 0 * inputs))
    (focus,) = asked(focuses, model, OTHERS)
    assert focus == pytest.approx(1 / 10)


def test_a_single_key_has_all_of_the_weight():
    inputs, source = keras.Input((10, 16)), keras.Input((1, 16))
    model = keras.Model([inputs, source], layers.MultiHeadAttention(2, 8)(inputs, source))
    assert found(model, [OTHERS, OTHERS[:, :1]]) == {}


def test_what_is_called_query_and_key_may_be_something_else():
    inputs = keras.Input((64,))
    query, key = (layers.Dense(8, name=name, kernel_initializer="he_normal")(inputs) for name in ("query", "key"))
    model = keras.Model(inputs, layers.Dense(5)(query * key))
    assert found(model) == {}
    assert asked(focuses, model, X) == []


def test_keys_beside_the_queries_of_a_model_are_made_smaller_too():
    inputs = keras.Input((10, 16))
    queries, keys = (
        layers.Dense(16, kernel_initializer=keras.initializers.RandomNormal(stddev=0.6, seed=seed), name=name)(inputs)
        for seed, name in enumerate(("query", "key"))
    )
    model = keras.Model(inputs, layers.Dense(5)(layers.Attention()([queries, inputs, keys])))
    remedy = found(model, SEQUENCES)["focused attention"].remedy
    assert remedy.rules.keys() == {"query/kernel", "key/kernel"}


def test_heads_that_do_not_fit_each_other_have_no_focus():
    class Heads(layers.Layer):
        def build(self, shape):
            self.query, self.key = (
                layers.EinsumDense("abc,cde->abde", (None, heads, 4), name=name)
                for name, heads in (("query", 3), ("key", 2))
            )
            self.query.build(shape)
            self.key.build(shape)

        def call(self, inputs):
            return keras.ops.concatenate([self.query(inputs), self.key(inputs)], axis=2)

    assert asked(focuses, keras.Sequential([keras.Input((10, 16)), Heads()]), OTHERS) == []
