"""A kernel that holds those of queries, keys and values is drawn by the fans of each."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import often

from keras_initx import Concatenated, audit, initialize, recipes

WIDTH, HEADS = 16, 2


def heads(x, size=WIDTH // HEADS):
    return ops.transpose(ops.reshape(x, (-1, x.shape[1], x.shape[-1] // size, size)), (0, 2, 1, 3))


def attention(q, k, v):
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 8)
    y = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
    return ops.reshape(y, (-1, y.shape[1], y.shape[2] * y.shape[3]))


def rotate(x):
    left, right = ops.split(x, 2, -1)
    return ops.concatenate([left * 0.6 - right * 0.8, right * 0.6 + left * 0.8], -1)


def split(x):
    return attention(*map(heads, ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1)))


def sliced(x):
    both = layers.Dense(3 * WIDTH, name="qkv")(x)
    return attention(*(heads(both[..., start : start + WIDTH]) for start in range(0, 3 * WIDTH, WIDTH)))


def unstacked(x):
    y = ops.reshape(layers.Dense(3 * WIDTH, name="qkv")(x), (-1, 4, 3, HEADS, WIDTH // HEADS))
    return attention(*ops.unstack(ops.transpose(y, (2, 0, 3, 1, 4)), 3))


def einsum(x):
    y = layers.EinsumDense("btd,dnhk->bnhtk", (3, HEADS, 4, WIDTH // HEADS), name="qkv")(x)
    return attention(y[:, 0], y[:, 1], y[:, 2])


def rotary(x):
    q, k, v = map(heads, ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1))
    return attention(rotate(q), rotate(k), v)


def apart_with_rotary(x):
    q, k, v = (heads(layers.Dense(WIDTH, name=name)(x)) for name in ("qkv", "k", "v"))
    return attention(rotate(q), rotate(k), v)


def keys_and_values(x):
    k, v = ops.split(layers.Dense(2 * WIDTH, name="qkv")(x), 2, -1)
    return attention(heads(layers.Dense(WIDTH, name="q")(x)), heads(k), heads(v))


def dot_product(x):
    y = ops.reshape(layers.Dense(3 * WIDTH, name="qkv")(x), (-1, 4, 3, HEADS, WIDTH // HEADS))
    y = ops.dot_product_attention(y[:, :, 0], y[:, :, 1], y[:, :, 2])
    return ops.reshape(y, (-1, 4, WIDTH))


def attention_of_each_head(q, k, v):
    return ops.concatenate(
        [
            ops.matmul(ops.softmax(ops.matmul(query, ops.transpose(key, (0, 2, 1)))), value)
            for query, key, value in zip(*(ops.split(tensor, HEADS, -1) for tensor in (q, k, v)), strict=True)
        ],
        -1,
    )


def apart_in_a_loop_over_heads(x):
    return attention_of_each_head(*(layers.Dense(WIDTH, name=name)(x) for name in ("qkv", "k", "v")))


def loop_over_heads(x):
    q, k, v = ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1)
    left, right = ops.split(q, 2, -1)
    return attention_of_each_head(ops.concatenate([left - right, left + right], -1), k, v)


def joint(x):
    """Attention of two streams together, which rotary positions turn after they are joined."""
    streams = [layers.Dense(3 * WIDTH, name=name)(x) for name in ("qkv", "other")]
    q, k, v = (
        ops.concatenate(parts, 2) for parts in zip(*(map(heads, ops.split(y, 3, -1)) for y in streams), strict=True)
    )
    return attention(rotate(q), rotate(k), v)[:, :4]


def loop_over_steps(x):
    """Attention without a softmax, of which the state goes from step to step."""
    q, k, v = ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1)
    state, outputs = ops.zeros((1, WIDTH, WIDTH)), []
    for step in range(4):
        state = state + ops.matmul(k[:, step, :, None], v[:, step, None])
        outputs.append(ops.squeeze(ops.matmul(q[:, step, None], state), 1))
    return ops.stack(outputs, 1)


def mixed_in_a_loop(x):
    """A loop that splits in each step what it has mixed in the step before."""
    q, k, v = ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1)
    for _ in range(18):
        first, others = k[..., :1], k[..., 1:]
        k = ops.concatenate([first, others + first], -1)
    return attention(heads(q), heads(k), heads(v))


def random_features(x):
    """A product with a constant, which queries and keys go through alone."""
    features = np.eye(WIDTH // HEADS, dtype="float32")
    q, k, v = map(heads, ops.split(layers.Dense(3 * WIDTH, name="qkv")(x), 3, -1))
    return attention(ops.exp(ops.matmul(q, features)), ops.exp(ops.matmul(k, features)), v)


def grouped(x):
    """Fewer heads of keys and values than of queries."""
    q, k, v = ops.split(layers.Dense(2 * WIDTH, name="qkv")(x), (WIDTH, WIDTH + WIDTH // 2), -1)
    return attention(heads(q), *(ops.repeat(heads(part), 2, 1) for part in (k, v)))


def model(attend):
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((4, WIDTH))(layers.Conv2D(WIDTH, 2, 2, name="patch")(image))
    x = x + layers.Dense(WIDTH, name="out")(attend(layers.LayerNormalization()(x)))
    x = x + layers.Dense(WIDTH, name="down")(layers.Dense(32, "gelu", name="up")(layers.LayerNormalization()(x)))
    return keras.Model(image, layers.Dense(5, name="head")(ops.mean(x, 1)))


KERNELS = {
    split: 3,
    sliced: 3,
    unstacked: 3,
    einsum: 3,
    rotary: 3,
    dot_product: 3,
    keys_and_values: 2,
    apart_with_rotary: 1,
    apart_in_a_loop_over_heads: 1,
    loop_over_heads: 3,
    mixed_in_a_loop: 3,
    random_features: 3,
    joint: 3,
}


@pytest.mark.release_backends
@pytest.mark.parametrize("attend", often(KERNELS, [split, unstacked, rotary, loop_over_heads, mixed_in_a_loop]))
def test_each_kernel_in_one_has_the_scale_that_it_would_have_alone(attend):
    made = model(attend)
    plan = initialize(made, "vit_jax", seed=0)
    stds = {row.path: row.expected_std for row in plan.rows}
    assert stds["qkv/kernel"] == pytest.approx((2 / (WIDTH + WIDTH)) ** 0.5)
    assert stds["up/kernel"] == pytest.approx((2 / (WIDTH + 32)) ** 0.5)
    assert any("several kernels in one" in note and "'qkv'" in note for note in plan.notes) == (KERNELS[attend] > 1)
    assert recipes.spectral(made).by_path["qkv/kernel"].blocks == KERNELS[attend]
    assert audit(made, "vit_jax").ok


def test_steps_of_a_loop_are_no_kernels():
    assert recipes.spectral(model(loop_over_steps)).by_path["qkv/kernel"].blocks == 3


@pytest.mark.parametrize(
    ("convolution", "count"),
    [(layers.DepthwiseConv1D, 3), (lambda size, **options: layers.SeparableConv1D(3 * WIDTH, size, **options), 1)],
    ids=["depthwise", "separable"],
)
def test_a_convolution_between_keeps_the_kernels_apart_unless_it_mixes_channels(convolution, count):
    def attend(x):
        both = convolution(3, padding="same", name="local")(layers.Dense(3 * WIDTH, name="qkv")(x))
        return attention(*map(heads, ops.split(both, 3, -1)))

    assert recipes.spectral(model(attend)).by_path["qkv/kernel"].blocks == count


def test_kernels_of_several_sizes_are_left_with_a_question_and_a_rule_answers_it():
    made = model(grouped)
    plan = initialize(made, "vit_jax", seed=0)
    assert plan.left == [row for row in plan.rows if row.path == "qkv/kernel"]
    assert "write a rule with `Concatenated`" in plan.left[0].detail
    parts = Concatenated(["initx.glorot_uniform"] * 3, sizes=[WIDTH, WIDTH // 2, WIDTH // 2])
    assert initialize(made, [{"qkv/kernel": parts}, "vit_jax"], seed=0).left == []
    # By the inputs alone they are as one.
    assert initialize(made, "vit_timm", seed=0).left == []


def test_gate_and_factor_in_one_kernel_are_two():
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((4, WIDTH))(layers.Conv2D(WIDTH, 2, 2, name="patch")(image))
    x = x + layers.MultiHeadAttention(2, 8)(x, x)
    one, other = ops.split(layers.Dense(2 * WIDTH, name="both")(x), 2, -1)
    x = x + layers.Dense(WIDTH, name="down")(ops.silu(one) * other)
    made = keras.Model(image, layers.Dense(5, name="head")(ops.mean(x, 1)))
    stds = {row.path: row.expected_std for row in initialize(made, "vit_jax", seed=0).rows}
    assert stds["both/kernel"] == pytest.approx(0.25)
