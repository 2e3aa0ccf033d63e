"""Attention that is written between layers counts as a layer of attention does."""

import keras
import pytest
from keras import layers, ops
from modes import everywhere, often
from strangers import LENGTH, TOKENS, WIDTH

from keras_initx import initialize, recipes

HEADS = 2


def dense(units, name):
    return layers.Dense(units, use_bias=False, name=name)


def in_heads(x, size=WIDTH // HEADS):
    return ops.reshape(x, (-1, x.shape[1], x.shape[2] // size, size))


def dot_product(q, k, v, **options):
    q, k, v = map(in_heads, (q, k, v))
    return ops.reshape(ops.dot_product_attention(q, k, v, **options), (-1, q.shape[1], WIDTH))


def transposed(q, k, v):
    q, k, v = (ops.transpose(ops.transpose(in_heads(one), (0, 2, 1, 3)), (0, 2, 1, 3)) for one in (q, k, v))
    return layers.Reshape((q.shape[1], WIDTH))(ops.nn.dot_product_attention(query=q, key=k, value=v, is_causal=True))


def rotated(q, k, v):
    q, k = (ops.concatenate([-left, right], -1) for left, right in (ops.split(one, 2, -1) for one in (q, k)))
    return dot_product(q, k, v)


def with_mask(q, k, v):
    mask = ops.expand_dims(ops.greater(ops.sum(q, -1), 0), 1)
    return dot_product(q, k, v, mask=ops.expand_dims(ops.repeat(mask, LENGTH, 1), 1))


def with_bias(q, k, v):
    return dot_product(q, k, v, bias=ops.ones((1, HEADS, LENGTH, LENGTH)))


def softmax_by(layer):
    return lambda q, k, v: ops.matmul(layer(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)


class Attention(layers.Layer):
    """Attention with a key and a value for all heads, after its kernels."""

    def call(self, q, k, v):
        k, v = (ops.tile(one, (1, 1, HEADS)) for one in (k, v))
        return dot_product(q, k, v, is_causal=True)

    def compute_output_shape(self, q_shape, k_shape, v_shape):
        return q_shape


# What attention computes of queries, keys and values.
FORMS = {
    "dot product": dot_product,
    "causal": lambda q, k, v: dot_product(q, k, v, is_causal=True, scale=0.1),
    "transposed": transposed,
    "rotated": rotated,
    "mask": with_mask,
    "bias": with_bias,
    "grouped": lambda q, k, v: dot_product(q, k[..., : WIDTH // HEADS], v[..., : WIDTH // HEADS]),
    "subclassed": lambda q, k, v: Attention()(q, k[..., : WIDTH // HEADS], v[..., : WIDTH // HEADS]),
    "softmax layer": softmax_by(layers.Softmax()),
    "activation": softmax_by(layers.Activation("softmax")),
    "attention layer": lambda q, k, v: layers.Attention(use_scale=True)([q, v, k]),
    "additive": lambda q, k, v: layers.AdditiveAttention()([q, v, k]),
}


def gated(x, name):
    y = layers.RMSNormalization()(x)
    return dense(WIDTH, f"{name}_w2")(ops.silu(dense(16, f"{name}_w1")(y)) * dense(16, f"{name}_w3")(y))


def block(x, attend, name, memory=None):
    """Return a tensor after attention, of itself or of another one, and a gated network."""
    y = layers.RMSNormalization()(x)
    memory = y if memory is None else memory
    q, k, v = (dense(WIDTH, f"{name}_{kernel}") for kernel in "qkv")
    x = x + dense(WIDTH, f"{name}_o")(attend(q(y), k(memory), v(memory)))
    return x + gated(x, name)


def decoder(attend, blocks=2, memory=None):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH)(ids)
    for number in range(blocks):
        x = block(x, attend, f"b{number}")
        if memory is not None:
            x = block(x, attend, f"c{number}", memory)
    inputs = ids if memory is None else [memory, ids]
    return keras.Model(inputs, dense(TOKENS, "head")(x))


def smaller(model, source):
    """Return the factors by which kernels of the blocks are drawn smaller than the others."""
    plan = initialize(model, source, seed=0, dry_run=True)
    found = {one.path.split("/")[-2]: one.expected_std for one in plan.rows if one.path.endswith("kernel")}
    return {name: round((0.02 / std) ** 2) for name, std in found.items() if std < 0.02 and name != "head"}


BY_NUMBER = {"b0_o": 2, "b0_w2": 2, "b0_w3": 2, "b1_o": 4, "b1_w2": 4, "b1_w3": 4}


@pytest.mark.parametrize("form", everywhere(FORMS, ["dot product", "grouped", "subclassed"], others=[pytest.mark.rare]))
def test_kernels_around_attention_have_their_roles_and_numbers_of_blocks(form):
    model = decoder(FORMS[form])
    assert smaller(model, "llama:torchtitan") == BY_NUMBER
    assert smaller(model, "gpt2") == dict.fromkeys(("b0_o", "b0_w2", "b1_o", "b1_w2"), 4)


@pytest.mark.parametrize("form", ["dot product", "softmax layer", "additive"])
def test_a_vision_transformer_is_known_by_attention_of_any_name(form):
    x = image = keras.Input((8, 12, 3))
    x = layers.Reshape((LENGTH, WIDTH))(layers.Conv2D(WIDTH, 4, 4, name="stem")(x))
    x = block(x, FORMS[form], "b0")
    model = keras.Model(image, dense(10, "head")(layers.GlobalAveragePooling1D()(x)))
    assert recipes.vit_jax(model).by_path["head/kernel"] == "zeros"


def test_softmax_of_channels_is_no_attention():
    x = image = keras.Input((8, 8, 4))
    for number in range(2):
        y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name=f"a{number}")(x))
        y = layers.Conv2D(4, 3, padding="same", name=f"b{number}")(y * ops.softmax(y))
        x = x + layers.BatchNormalization()(y)
    model = keras.Model(image, dense(10, "head")(layers.GlobalAveragePooling2D()(x)))
    assert recipes.resnet(model)


@pytest.fixture(params=often(["float32", "mixed_float16", "bfloat16"], ["mixed_float16"]))
def in_dtype(request):
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.rare
@pytest.mark.usefixtures("in_dtype")
def test_they_have_them_in_a_model_that_is_saved_wrapped_and_in_16_bits(tmp_path):
    decoder(dot_product).save(tmp_path / "model.keras")
    inner = keras.models.load_model(tmp_path / "model.keras")
    assert smaller(keras.Sequential([keras.Input((LENGTH,)), inner]), "llama:torchtitan") == BY_NUMBER


class ByEinsum(keras.Model):
    """Attention whose layers do not say how long their outputs are."""

    def __init__(self):
        super().__init__()
        self.tokens, self.norm = layers.Embedding(TOKENS, WIDTH), layers.LayerNormalization()
        self.qkv = [layers.EinsumDense("btd,dnh->btnh", (None, HEADS, 4), name=f"{one}_proj") for one in "qkv"]
        self.out = layers.EinsumDense("btnh,nhd->btd", (None, WIDTH), name="o_proj")

    def call(self, ids):
        x = self.tokens(ids)
        q, k, v = (one(self.norm(x)) for one in self.qkv)
        mask = ops.tril(ops.ones((1, 1, q.shape[1], k.shape[1]), "bool"))
        return x + self.out(ops.dot_product_attention(q, k, v, mask=mask))


@pytest.mark.release_backends
@pytest.mark.usefixtures("in_dtype")
def test_a_length_that_a_layer_leaves_out_is_known():
    model = ByEinsum()
    model(ops.ones((2, LENGTH), "int32"))
    assert recipes.zero_residual(model).by_path == {"o_proj/kernel": "zeros"}


class ByLength(layers.Layer):
    """A table of positions and a mask, for which the length must be known."""

    def __init__(self, rows):
        super().__init__(name="attention")
        self.rows, self.out = rows, dense(WIDTH, "o")

    def build(self, shape):
        self.where = self.add_weight(shape=(self.rows, WIDTH), name="where")
        self.out.build(shape)

    def call(self, x):
        y = x + self.where[: x.shape[1]]
        mask = ops.tril(ops.ones((1, 1, x.shape[1], x.shape[1]), "bool"))
        return x + self.out(dot_product(y, y, y, mask=mask))

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("rows", [LENGTH, 100])
def test_a_length_that_the_model_does_not_know_hides_no_attention(rows):
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, ByLength(rows)(layers.Embedding(TOKENS, WIDTH)(ids)))
    assert recipes.zero_residual(model).by_path == {"attention/o/kernel": "zeros"}


def recurrent(x, name):
    return x + dense(WIDTH, f"{name}_out")(ops.tanh(ops.cumsum(dense(WIDTH, f"{name}_in")(x), axis=1)))


@pytest.mark.parametrize(("recurrent_block", "end"), [(0, "b0_w2"), (1, "b1_w2")])
def test_blocks_are_not_counted_where_some_have_no_attention(recurrent_block, end):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH)(ids)
    for number in range(2):
        if number == recurrent_block:
            x = recurrent(x, f"b{number}")
            x = x + gated(x, f"b{number}")
        else:
            x = block(x, dot_product, f"b{number}")
    with pytest.raises(ValueError, match=f"with no attention right before the branch that ends with '{end}'"):
        recipes.llama(keras.Model(ids, x), source="torchtitan")


@pytest.mark.rare
@pytest.mark.parametrize("form", ["dot product", "rotated", "softmax layer", "attention layer"])
def test_attention_of_another_tensor_is_cross_attention(form):
    model = decoder(FORMS[form], memory=keras.Input((LENGTH, WIDTH)))
    for recipe in (recipes.gpt2, recipes.llama):
        with pytest.raises(ValueError, match="with cross-attention, 'c0_o', 'c1_o'"):
            recipe(model)


def test_keys_and_values_of_a_block_before_are_no_cross_attention():
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH)(ids)
    first = layers.RMSNormalization()(x)
    k, v = dense(WIDTH, "k")(first), dense(WIDTH, "v")(first)
    for number in range(2):
        y = layers.RMSNormalization()(x)
        x = x + dense(WIDTH, f"o{number}")(dot_product(dense(WIDTH, f"q{number}")(y), k, v))
    assert recipes.zero_residual(keras.Model(ids, x)).by_path == {"o0/kernel": "zeros", "o1/kernel": "zeros"}
    assert smaller(keras.Model(ids, x), "gpt2") == {"o0": 2, "o1": 2}
