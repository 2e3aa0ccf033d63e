"""Architectures as published, small, written as their papers and code say. Only symbolic tensors go through them."""

import keras
from keras import layers, ops

from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._roles import find_roles

D, LENGTH = 8, 4
# Of each name the layers, so that what is applied again is the same one.
LAYERS = {}


def get(name, make):
    return LAYERS.setdefault(name, make())


def dense(x, name, activation=None, units=D):
    return get(name, lambda: layers.Dense(units, activation, name=name))(x)


def norm(x, name=None):
    return get(name, lambda: layers.LayerNormalization(name=name))(x) if name else layers.LayerNormalization()(x)


def att(y, name, memory=None):
    return get(name, lambda: layers.MultiHeadAttention(2, 4, name=name))(y, y if memory is None else memory)


def mlp(y, name, activation="gelu"):
    return dense(dense(y, f"{name}_up", activation, 16), f"{name}_down")


def glu(y, name):
    return dense(dense(y, f"{name}_gate", "silu", 16) * dense(y, f"{name}_up", None, 16), f"{name}_down")


def block(x, name, memory=None, network=mlp):
    """Attention, perhaps to a memory, and a network, each with a normalization before it."""
    x = x + att(norm(x), f"{name}_att")
    if memory is not None:
        x = x + att(norm(x), f"{name}_cross", memory)
    return x + network(norm(x), name)


def post(x, name, memory=None):
    """The same with a normalization after each sum."""
    x = norm(x + att(x, f"{name}_att"))
    if memory is not None:
        x = norm(x + att(x, f"{name}_cross", memory))
    return norm(x + mlp(x, name))


def stack(x, name, blocks, memory=None, kind=block, **options):
    for number in range(blocks):
        x = kind(x, f"{name}{number}", memory, **options)
    return x


def tokens(name="tokens"):
    ids = keras.Input((LENGTH,), dtype="int32")
    return ids, get(name, lambda: layers.Embedding(20, D, name=name))(ids)


def patches(name="patches"):
    image = keras.Input((4, 4, 3))
    return image, layers.Reshape((4, D))(layers.Conv2D(D, 2, 2, name=name)(image))


def model(inputs, outputs):
    return keras.Model(inputs, dense(outputs, "head", units=3))


class Weight(layers.Layer):
    """A weight in place of a tensor, as learned queries."""

    def build(self, shape):
        self.rows = self.add_weight((1, 3, D), "uniform", name="rows")

    def call(self, x):
        return ops.broadcast_to(self.rows, (ops.shape(x)[0], 3, D))


def gpt2():
    ids, x = tokens()
    return model(ids, stack(x, "b", 2))


def bert():
    ids, x = tokens()
    return model(ids, stack(x, "b", 2, kind=post))


def albert():
    ids, x = tokens()
    x = dense(x, "factor")
    for _ in range(3):
        x = post(x, "b")
    return model(ids, x)


def gpt_j():
    ids, x = tokens()
    for number in range(2):
        y = norm(x)
        x = x + att(y, f"b{number}_att") + mlp(y, f"b{number}")
    return model(ids, x)


def looped():
    """A model that is applied to its own outputs."""
    x = keras.Input((LENGTH, D))
    inner = keras.Model(x, stack(x, "b", 2))
    ids, x = tokens()
    return model(ids, inner(inner(inner(x))))


class Biased(layers.Layer):
    """Attention of T5: no biases of kernels, and one by relative positions."""

    def build(self, y_shape, memory_shape=None):
        self.kernels = {name: layers.Dense(D, use_bias=False, name=f"{self.name}_{name}") for name in "qkvo"}
        self.table = layers.Embedding(8, 1, name=f"{self.name}_bias")
        for layer in self.kernels.values():
            layer.build(y_shape)
        self.table.build((LENGTH, LENGTH))

    def call(self, y, memory=None):
        memory = y if memory is None else memory
        q, k, v = self.kernels["q"](y), self.kernels["k"](memory), self.kernels["v"](memory)
        scores = ops.matmul(q, ops.transpose(k, (0, 2, 1)))
        if memory is y:
            places = ops.arange(LENGTH)[:, None] - ops.arange(LENGTH)[None] + 3
            scores = scores + ops.squeeze(self.table(places), -1)
        return self.kernels["o"](ops.matmul(ops.softmax(scores), v))


def t5_block(x, name, memory=None):
    def attention(name, *given):
        return Biased(name=name)(*given)

    x = x + attention(f"{name}_att", layers.RMSNormalization()(x))
    if memory is not None:
        x = x + attention(f"{name}_cross", layers.RMSNormalization()(x), memory)
    return x + mlp(layers.RMSNormalization()(x), name, "relu")


def t5():
    (one, x), (other, y) = tokens(), tokens()
    memory = layers.RMSNormalization()(stack(x, "e", 2, kind=t5_block))
    return keras.Model([one, other], stack(y, "d", 2, memory, kind=t5_block))


def whisper():
    sound = keras.Input((8, 5))
    x = layers.Conv1D(D, 3, 2, "same", activation="gelu")(layers.Conv1D(D, 3, padding="same", activation="gelu")(sound))
    ids, y = tokens()
    return model([sound, ids], stack(y, "d", 2, norm(stack(x, "e", 3))))


def bart():
    (one, x), (other, y) = tokens(), tokens()
    return model([one, other], stack(y, "d", 3, stack(x, "e", 2, kind=post), kind=post))


def towers(first, second):
    """Two encoders, of which the outputs are multiplied."""
    return keras.Model([first[0], second[0]], layers.Dot(-1)([norm(first[1])[:, 0], norm(second[1])[:, 0]]))


def clip():
    (image, x), (ids, y) = patches(), tokens()
    return towers((image, stack(x, "v", 3)), (ids, stack(y, "t", 2)))


def siglip():
    """As CLIP, but a learned query attends to the patches at the end, and has a network of its own."""
    (image, x), (ids, y) = patches(), tokens()
    x = norm(stack(x, "v", 2))
    pooled = att(Weight(name="probe")(x), "pool_att", x)
    pooled = pooled + mlp(norm(pooled), "pool")
    return towers((image, pooled), (ids, stack(y, "t", 2)))


def siamese():
    x = keras.Input((LENGTH, D))
    tower = keras.Model(x, stack(x, "b", 2)[:, 0])
    one, other = keras.Input((LENGTH, D)), keras.Input((LENGTH, D))
    return keras.Model([one, other], layers.Dot(-1)([tower(one), tower(other)]))


def llava():
    """Outputs of an encoder of images stand before tokens, so ways have two lengths."""
    (image, x), (ids, y) = patches(), tokens()
    x = dense(stack(x, "v", 2), "projection")
    return model([image, ids], stack(layers.Concatenate(1)([x, y]), "t", 3))


def masked_autoencoder():
    image, x = patches()
    return model(image, stack(dense(stack(x, "e", 3), "narrower"), "d", 2))


def heads(first, second):
    """A trunk of two blocks, and two heads of so many."""
    ids, x = tokens()
    x = stack(x, "b", 2)
    return keras.Model(ids, [stack(dense(x, "to_a"), "h", first), stack(dense(x, "to_b"), "i", second)])


def perceiver():
    """Latents that attend to the inputs again, with the same weights."""
    inputs = keras.Input((6, D))
    z = Weight(name="latents")(inputs)
    for _ in range(2):
        z = z + att(norm(z), "cross", inputs)
        z = z + mlp(norm(z), "cross")
        z = stack(z, "b", 1)
    return model(inputs, z)


def perceiver_io():
    """Outputs of a query of its own behind the latents, which is another stream."""
    inputs = keras.Input((6, D))
    z = Weight(name="latents")(inputs)
    z = z + att(norm(z), "cross", inputs)
    z = stack(z, "b", 2)
    query = Weight(name="query")(z)
    query = query + att(norm(query), "out", z)
    return model(inputs, query + mlp(norm(query), "out"))


def detr_block(x, name, places, memory=None):
    def attention(name, query, key, value):
        return get(name, lambda: layers.MultiHeadAttention(2, 4, name=name))(query, value, key)

    x = norm(x + attention(f"{name}_att", x + places, x + places, x))
    if memory is not None:
        x = norm(x + attention(f"{name}_cross", x + places, memory, memory))
    return norm(x + mlp(x, name, "relu"))


class Queries(layers.Layer):
    """Learned queries of DETR, which are added to what starts at 0."""

    def build(self, shape):
        self.table = self.add_weight((3, D), "uniform", name="table")
        self.parts = [get(f"q{number}", lambda number=number: Decoded(f"d{number}")) for number in range(2)]
        for part in self.parts:
            part.build(shape)

    def call(self, memory):
        places = ops.broadcast_to(self.table, (ops.shape(memory)[0], 3, D))
        x = ops.zeros_like(places)
        for part in self.parts:
            x = part(x, places, memory)
        return x


class Decoded(layers.Layer):
    def __init__(self, prefix):
        super().__init__(name=prefix)
        self.attention, self.cross = (
            layers.MultiHeadAttention(2, 4, name=f"{prefix}_{kind}") for kind in ("att", "cross")
        )
        self.up, self.down = layers.Dense(16, "relu", name=f"{prefix}_up"), layers.Dense(D, name=f"{prefix}_down")
        self.norms = [layers.LayerNormalization() for _ in range(3)]

    def build(self, shape):
        for attention in (self.attention, self.cross):
            attention.build(shape, shape)
        self.down.build((*shape[:-1], 16))
        for layer in (*self.norms, self.up):
            layer.build(shape)

    def call(self, x, places, memory):
        x = self.norms[0](x + self.attention(x + places, x, x + places))
        x = self.norms[1](x + self.cross(x + places, memory))
        return self.norms[2](x + self.down(self.up(x)))


def detr():
    image, x = patches()
    sines = ops.ones((1, 4, D)) * 0.5
    for number in range(2):
        x = detr_block(x, f"e{number}", sines)
    return model(image, Queries(name="queries")(x))


def q_former():
    image, x = patches()
    image_features = stack(x, "v", 1)
    z = Weight(name="queries")(image_features)
    return model(image, stack(z, "q", 2, image_features))


def slots():
    inputs = keras.Input((6, D))
    z = Weight(name="slots")(inputs)
    for _ in range(3):
        z = z + att(norm(z, "norm_z"), "slot", inputs)
        z = z + mlp(norm(z, "norm_y"), "slot")
    return model(inputs, z)


def residual_2d(x, time, name, width):
    """The block of DDPM: a time step is added inside, and the stream has a kernel where the width changes."""
    y = layers.Conv2D(width, 3, padding="same", name=f"{name}_first")(ops.silu(layers.GroupNormalization(4)(x)))
    y = y + layers.Dense(width, name=f"{name}_time")(ops.silu(time))[:, None, None]
    y = layers.Conv2D(width, 3, padding="same", name=f"{name}_last")(ops.silu(layers.GroupNormalization(4)(y)))
    if x.shape[-1] != width:
        x = layers.Conv2D(width, 1, name=f"{name}_beside")(x)
    return x + y


def ddpm():
    image, time = keras.Input((8, 8, 3)), keras.Input((D,))
    embedded = dense(dense(time, "time_1", "silu"), "time_2")
    first = x = layers.Conv2D(D, 3, padding="same", name="stem")(image)
    second = x = residual_2d(x, embedded, "down0", D)
    x = layers.Conv2D(D, 3, 2, padding="same", name="down")(x)
    x = residual_2d(x, embedded, "down1", 16)
    y = layers.Reshape((16, 16))(layers.GroupNormalization(4)(x))
    y = layers.MultiHeadAttention(2, 8, name="middle")(y, y)
    x = x + layers.Reshape((4, 4, 16))(y)
    x = residual_2d(layers.UpSampling2D()(x), embedded, "up0", 16)
    x = residual_2d(layers.Concatenate()([x, second]), embedded, "up1", D)
    x = residual_2d(layers.Concatenate()([x, first]), embedded, "up2", D)
    return keras.Model([image, time], layers.Conv2D(3, 3, padding="same", name="out")(x))


def windows(y, name, shift):
    """Attention in windows of 2 x 2, shifted as in Swin."""
    side = y.shape[1]
    y = ops.roll(y, (-shift, -shift), (1, 2))
    y = ops.transpose(ops.reshape(y, (-1, side // 2, 2, side // 2, 2, y.shape[-1])), (0, 1, 3, 2, 4, 5))
    width = y.shape[-1]
    y = ops.reshape(y, (-1, 4, width))
    y = layers.MultiHeadAttention(2, 4, name=name)(y, y)
    y = ops.transpose(ops.reshape(y, (-1, side // 2, side // 2, 2, 2, width)), (0, 1, 3, 2, 4, 5))
    return ops.roll(ops.reshape(y, (-1, side, side, width)), (shift, shift), (1, 2))


def swin():
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(D, 2, 2, name="patches")(image)
    for stage in range(2):
        width = x.shape[-1]
        for number in range(2):
            name = f"s{stage}{number}"
            x = x + windows(norm(x), f"{name}_att", number)
            x = x + dense(dense(norm(x), f"{name}_up", "gelu"), f"{name}_down", units=width)
        if stage == 0:
            corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
            x = dense(norm(layers.Concatenate()(corners)), "merging", units=2 * width)
    return model(image, x)


def experts(name, y, number=4, network=glu, weigh=lambda p: p, logits=None):
    """Experts of one router, added with its weights."""
    p = weigh(ops.softmax(dense(y, f"{name}_router", units=number if logits is None else logits)))
    return sum(p[..., e : e + 1] * network(y, f"{name}e{e}") for e in range(number))


def top_two(p):
    values, places = ops.top_k(p, 2)
    chosen = ops.one_hot(places, p.shape[-1]) * (values / ops.sum(values, -1, keepdims=True))[..., None]
    return ops.sum(chosen, -2)


def mixture(network):
    def build():
        ids, x = tokens()
        for number in range(2):
            x = x + att(norm(x), f"b{number}_att")
            x = x + network(f"b{number}", norm(x))
        return model(ids, x)

    return build


def deepseek(name, y):
    """Experts by sigmoids that are normalized, and a shared one."""
    p = ops.sigmoid(dense(y, f"{name}_router", units=4))
    p = ops.where(p >= ops.top_k(p, 2)[0][..., -1:], p, 0.0)
    p = 2.5 * p / (ops.sum(p, -1, keepdims=True) + 1e-9)
    return sum(p[..., e : e + 1] * glu(y, f"{name}e{e}") for e in range(4)) + glu(y, f"{name}shared")


def qwen(name, y):
    """A shared expert with a weight of its own."""
    shared = dense(y, f"{name}_shared_router", "sigmoid", 1) * glu(y, f"{name}shared")
    return experts(name, y, weigh=top_two) + shared


def switch(name, y):
    """One expert for each token, with its weight."""
    return experts(name, y, network=mlp, weigh=lambda p: p * ops.one_hot(ops.argmax(p, -1), 4))


def stacked(name, y):
    """Experts of which the outputs are stacked, and summed in one product."""
    p = dense(y, f"{name}_router", "softmax", 4)
    return ops.einsum("bte,betd->btd", p, ops.stack([mlp(y, f"{name}e{e}") for e in range(4)], 1))


def divided(name, y):
    """The sum is divided by the sum of the weights."""
    p = ops.sigmoid(dense(y, f"{name}_router", units=4))
    total = sum(p[..., e : e + 1] * mlp(y, f"{name}e{e}") for e in range(4))
    return total / ops.sum(p, -1, keepdims=True)


def fewer(name, y):
    """A router of more outputs than there are experts."""
    return experts(name, y, logits=6)


def of_two_routers(name, y):
    """Experts with weights of a sum of two routers."""
    p = ops.softmax(dense(y, f"{name}_router", units=2) + dense(y, f"{name}_other_router", units=2))
    return sum(p[..., e : e + 1] * mlp(y, f"{name}e{e}") for e in range(2))


def without_kernel(name, y):
    p = ops.softmax(y)
    return sum(p[..., e : e + 1] * mlp(y, f"{name}e{e}") for e in range(2))


def hourglass(conditioned):
    """A skip around three branches, perhaps with a condition that enters behind its begin."""
    inputs, step = keras.Input((LENGTH, D)), keras.Input((D,))
    first = x = dense(inputs, "stem")
    x = dense(x, "down")
    if conditioned:
        x = x + dense(step, "step")[:, None]
    for number in range(3):
        x = x + mlp(norm(x), f"b{number}")
    x = first + dense(x, "up")
    return model([inputs, step] if conditioned else inputs, x)


def conditioned():
    """A condition enters each branch, and the stream too."""
    inputs, step = keras.Input((LENGTH, D)), keras.Input((D,))
    x = dense(inputs, "stem") + dense(step, "step")[:, None]
    for number in range(3):
        hidden = dense(norm(x), f"b{number}_up") + dense(step, f"b{number}_step")[:, None]
        x = x + dense(ops.silu(hidden), f"b{number}_down")
    return model([inputs, step], x)


def dit():
    (image, x), time = patches(), keras.Input((D,))
    for number in range(2):
        both = dense(ops.silu(time), f"modulation{number}", units=6 * D)
        shift, scale, gate, *others = (part[:, None] for part in ops.split(both, 6, -1))
        x = x + gate * att(norm(x) * (1 + scale) + shift, f"b{number}_att")
        shift, scale, gate = others
        x = x + gate * mlp(norm(x) * (1 + scale) + shift, f"b{number}")
    return model([image, time], x)


def labelled():
    """A diffusion transformer whose condition is a label."""
    (image, x), label = patches(), keras.Input((), dtype="int32")
    condition = layers.Embedding(5, D, name="labels")(label)
    for number in range(2):
        shift, scale, gate = (
            part[:, None] for part in ops.split(dense(ops.silu(condition), f"modulation{number}", units=3 * D), 3, -1)
        )
        x = x + gate * att(norm(x) * (1 + scale) + shift, f"b{number}_att")
        x = x + mlp(norm(x), f"b{number}")
    return model([image, label], x)


def film():
    """Branches whose outputs are modulated by a condition, as `h * (1 + g) + b`."""
    inputs, step = keras.Input((LENGTH, D)), keras.Input((D,))
    x = dense(inputs, "stem")
    for number in range(2):
        g, b = ops.split(dense(step, f"b{number}_film", units=2 * D)[:, None], 2, -1)
        h = layers.LayerNormalization(center=False, scale=False)(mlp(norm(x), f"b{number}"))
        x = x + (h * (1 + g) + b)
    return model([inputs, step], x)


def film_exp():
    """The same with `h * exp(g)`."""
    inputs, step = keras.Input((LENGTH, D)), keras.Input((D,))
    x = dense(inputs, "stem")
    for number in range(2):
        g = dense(step, f"b{number}_film", units=2 * D)[:, None, :D]
        x = x + mlp(norm(x), f"b{number}") * ops.exp(g)
    return model([inputs, step], x)


def fused():
    """A vision transformer with one kernel for queries, keys and values."""
    image, x = patches()
    for number in range(2):
        q, k, v = ops.split(dense(norm(x), f"b{number}_qkv", units=3 * D), 3, -1)
        weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))))
        x = x + dense(ops.matmul(weights, v), f"b{number}_att")
        x = x + mlp(norm(x), f"b{number}")
    return model(image, x)


def subtracted():
    """Branches that are subtracted, as a step against a gradient."""
    inputs = keras.Input((LENGTH, D))
    x = dense(inputs, "stem")
    for number in range(2):
        x = x - 0.5 * mlp(norm(x), f"b{number}")
    return model(inputs, x)


def around():
    """A sum around all blocks, as in networks for super-resolution."""
    inputs = keras.Input((LENGTH, D))
    r = x = dense(inputs, "stem")
    for number in range(2):
        x = x + mlp(norm(x), f"b{number}")
    return model(inputs, dense(x, "up") + r)


def vit():
    image, x = patches()
    return model(image, stack(x, "b", 2))


def cait():
    """A class token that attends to the patches at the end, in a stream of its own."""
    image, x = patches()
    x = stack(x, "b", 2)
    z = Weight(name="class")(x)
    for number in range(2):
        z = z + att(norm(z), f"c{number}_att", layers.Concatenate(1)([norm(z), x]))
        z = z + mlp(norm(z), f"c{number}")
    return model(image, z)


def convolution(x, width, name, strides=1, activation=True):
    x = layers.Conv2D(width, 3, strides, "same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU()(x) if activation else x


def resnet(squeezes=False):
    image = keras.Input((8, 8, 3))
    x = convolution(image, D, "stem")
    for number, (width, strides) in enumerate([(D, 1), (16, 2), (16, 1)]):
        y = convolution(convolution(x, width, f"b{number}_1", strides), width, f"b{number}_2", activation=False)
        if squeezes:
            pooled = layers.GlobalAveragePooling2D(keepdims=True)(y)
            y = y * dense(dense(pooled, f"b{number}_s", "relu", 2), f"b{number}_e", "sigmoid", width)
        if width != x.shape[-1]:
            x = layers.Conv2D(width, 1, strides, name=f"b{number}_0")(x)
        x = layers.ReLU()(x + y)
    return model(image, x)


def mobilenet():
    image = keras.Input((8, 8, 3))
    x = convolution(image, D, "stem")
    for number in range(2):
        y = layers.Conv2D(16, 1, activation="relu6", name=f"b{number}_1")(x)
        y = layers.DepthwiseConv2D(3, padding="same", activation="relu6", name=f"b{number}_2")(y)
        x = x + layers.Conv2D(D, 1, name=f"b{number}_3")(y)
    return model(image, x)


def mixer():
    image, x = patches()
    for number in range(2):
        y = layers.Permute((2, 1))(norm(x))
        y = dense(dense(y, f"t{number}_up", "gelu"), f"t{number}_down", units=4)
        x = x + layers.Permute((2, 1))(y)
        x = x + mlp(norm(x), f"c{number}")
    return model(image, x)


def conformer():
    sound = keras.Input((LENGTH, 5))
    x = dense(sound, "stem")
    for number in range(2):
        x = x + 0.5 * mlp(norm(x), f"b{number}a")
        x = x + att(norm(x), f"b{number}_att")
        y = ops.glu(dense(norm(x), f"b{number}_glu", units=2 * D))
        y = layers.BatchNormalization()(layers.DepthwiseConv1D(3, padding="same", name=f"b{number}_deep")(y))
        x = x + dense(ops.silu(y), f"b{number}_point")
        x = norm(x + 0.5 * mlp(norm(x), f"b{number}b"))
    return model(sound, x)


def wavenet():
    sound = keras.Input((LENGTH, 5))
    x = dense(sound, "stem")
    for number in range(3):
        gated = dense(x, f"b{number}_t", "tanh") * dense(x, f"b{number}_s", "sigmoid")
        x = x + dense(gated, f"b{number}_down")
    return model(sound, x)


def sandwich():
    """As in Gemma 2, with a normalization at both ends of each branch."""
    ids, x = tokens()
    for number in range(2):
        x = x + norm(att(norm(x), f"b{number}_att"))
        x = x + norm(glu(norm(x), f"b{number}"))
    return model(ids, x)


def u_vit():
    """Blocks whose outputs are concatenated with those of earlier ones: ways have several lengths."""
    image, x = patches()
    kept = stack(x, "a", 1)
    x = stack(kept, "b", 1)
    x = dense(layers.Concatenate()([x, kept]), "join")
    return model(image, stack(x, "c", 1))


def highway():
    inputs = keras.Input((D,))
    x = inputs
    for number in range(2):
        gate = dense(x, f"b{number}_gate", "sigmoid")
        x = gate * dense(x, f"b{number}", "relu") + (1 - gate) * x
    return model(inputs, x)


def read(build):
    LAYERS.clear()
    made = build()
    return find_roles(Inventory(made))
