"""Ten small models written as ten different people would write them, with the role of each weight noted by hand."""

import math

import keras
import numpy as np
from keras import layers, ops

VOCABULARY = 48
LENGTH = 8


# 1. Llama, functional, with the names of its checkpoints; rotary positions are put into Keras' grouped attention.


def rotate(x):
    """Rotary positions of a tensor (batch, length, heads, size)."""
    length, size = x.shape[1], x.shape[-1]
    frequencies = 10000.0 ** (-np.arange(0, size, 2) / size)
    angles = np.outer(np.arange(length), frequencies).astype("float32")[None, :, None, :]
    cosine, sine = ops.convert_to_tensor(np.cos(angles)), ops.convert_to_tensor(np.sin(angles))
    left, right = ops.split(x, 2, axis=-1)
    return ops.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


class RotaryAttention(layers.GroupQueryAttention):
    def _compute_attention(self, query, key, value, *args, **kwargs):
        return super()._compute_attention(rotate(query), rotate(key), value, *args, **kwargs)


def llama_functional():
    hidden, intermediate = 32, 64
    input_ids = keras.Input((LENGTH,), dtype="int32", name="input_ids")
    x = layers.Embedding(VOCABULARY, hidden, name="embed_tokens")(input_ids)
    for i in range(2):
        h = layers.RMSNormalization(epsilon=1e-5, name=f"layers_{i}_input_layernorm")(x)
        attention = RotaryAttention(8, 4, 2, use_bias=False, name=f"layers_{i}_self_attn")
        x = x + attention(h, h, use_causal_mask=True)
        h = layers.RMSNormalization(epsilon=1e-5, name=f"layers_{i}_post_attention_layernorm")(x)
        gate = layers.Dense(intermediate, use_bias=False, name=f"layers_{i}_mlp_gate_proj")(h)
        up = layers.Dense(intermediate, use_bias=False, name=f"layers_{i}_mlp_up_proj")(h)
        x = x + layers.Dense(hidden, use_bias=False, name=f"layers_{i}_mlp_down_proj")(ops.silu(gate) * up)
    x = layers.RMSNormalization(epsilon=1e-5, name="norm")(x)
    logits = layers.Dense(VOCABULARY, use_bias=False, name="lm_head")(x)
    return keras.Model(input_ids, logits, name="llama")


# 2. Llama, subclassed, after the program that its authors published.


class Attention(layers.Layer):
    def __init__(self, dim, n_heads, **kwargs):
        super().__init__(**kwargs)
        self.n_heads, self.head_dim = n_heads, dim // n_heads
        self.wq = layers.Dense(dim, use_bias=False, name="wq")
        self.wk = layers.Dense(dim, use_bias=False, name="wk")
        self.wv = layers.Dense(dim, use_bias=False, name="wv")
        self.wo = layers.Dense(dim, use_bias=False, name="wo")

    def call(self, x, mask):
        batch, seqlen, dim = ops.shape(x)
        shape = (batch, seqlen, self.n_heads, self.head_dim)
        xq, xk, xv = (ops.reshape(w(x), shape) for w in (self.wq, self.wk, self.wv))
        xq, xk, xv = (ops.transpose(y, (0, 2, 1, 3)) for y in (rotate(xq), rotate(xk), xv))
        scores = ops.matmul(xq, ops.transpose(xk, (0, 1, 3, 2))) / math.sqrt(self.head_dim)
        scores = ops.softmax(scores + mask, axis=-1)
        output = ops.transpose(ops.matmul(scores, xv), (0, 2, 1, 3))
        return self.wo(ops.reshape(output, (batch, seqlen, dim)))


class FeedForward(layers.Layer):
    def __init__(self, dim, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.w1 = layers.Dense(hidden_dim, use_bias=False, name="w1")
        self.w2 = layers.Dense(dim, use_bias=False, name="w2")
        self.w3 = layers.Dense(hidden_dim, use_bias=False, name="w3")

    def call(self, x):
        return self.w2(ops.silu(self.w1(x)) * self.w3(x))


class TransformerBlock(layers.Layer):
    def __init__(self, dim, n_heads, **kwargs):
        super().__init__(**kwargs)
        self.attention = Attention(dim, n_heads, name="attention")
        self.feed_forward = FeedForward(dim, 2 * dim, name="feed_forward")
        self.attention_norm = layers.RMSNormalization(name="attention_norm")
        self.ffn_norm = layers.RMSNormalization(name="ffn_norm")

    def call(self, x, mask):
        h = x + self.attention(self.attention_norm(x), mask)
        return h + self.feed_forward(self.ffn_norm(h))


class Transformer(keras.Model):
    def __init__(self, dim=24, n_layers=2, n_heads=2, **kwargs):
        super().__init__(**kwargs)
        self.tok_embeddings = layers.Embedding(VOCABULARY, dim, name="tok_embeddings")
        self.blocks = [TransformerBlock(dim, n_heads, name=f"layer_{i}") for i in range(n_layers)]
        self.norm = layers.RMSNormalization(name="norm")
        self.to_logits = layers.Dense(VOCABULARY, use_bias=False, name="output")

    def call(self, tokens):
        h = self.tok_embeddings(tokens)
        seqlen = tokens.shape[1]
        mask = ops.convert_to_tensor(np.triu(np.full((seqlen, seqlen), -1e9, "float32"), 1))
        for block in self.blocks:
            h = block(h, mask)
        return self.to_logits(self.norm(h))


def llama_by_hand():
    model = Transformer(name="transformer")
    model(np.zeros((1, LENGTH), "int32"))
    return model


# 3. Gemma: attention of EinsumDense with one key and value head, a gelu gate, logits of the token table.


class UnitRMS(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="zeros", name="scale")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-6) * (1 + self.scale)


class GemmaAttention(layers.Layer):
    def __init__(self, heads, size, **kwargs):
        super().__init__(**kwargs)
        self.heads, self.size = heads, size

    def build(self, shape):
        width = shape[-1]
        self.q_einsum = layers.EinsumDense("btd,dnh->btnh", (None, self.heads, self.size), name="q_einsum")
        self.k_einsum = layers.EinsumDense("btd,dh->bth", (None, self.size), name="k_einsum")
        self.v_einsum = layers.EinsumDense("btd,dh->bth", (None, self.size), name="v_einsum")
        self.attn_vec_einsum = layers.EinsumDense("btnh,nhd->btd", (None, width), name="attn_vec_einsum")
        for layer in (self.q_einsum, self.k_einsum, self.v_einsum):
            layer.build(shape)
        self.attn_vec_einsum.build((*shape[:-1], self.heads, self.size))

    def call(self, x):
        q, k, v = self.q_einsum(x) * self.size**-0.5, self.k_einsum(x), self.v_einsum(x)
        q, k = rotate(q), rotate(k[:, :, None])[:, :, 0]
        logits = ops.einsum("btnh,bsh->bnts", q, k)
        causal = ops.tril(ops.ones((x.shape[1], x.shape[1]), dtype="bool"))
        weights = ops.softmax(ops.where(causal, logits, -1e9))
        return self.attn_vec_einsum(ops.einsum("bnts,bsh->btnh", weights, v))


class GeGLU(layers.Layer):
    def __init__(self, width, inner, **kwargs):
        super().__init__(**kwargs)
        self.wi_0 = layers.Dense(inner, use_bias=False, name="wi_0")
        self.wi_1 = layers.Dense(inner, use_bias=False, name="wi_1")
        self.wo = layers.Dense(width, use_bias=False, name="wo")

    def call(self, x):
        gated = keras.activations.gelu(self.wi_0(x), approximate=True)
        return self.wo(ops.multiply(gated, self.wi_1(x)))


class Gemma(keras.Model):
    def __init__(self, width=32, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.embedder = layers.Embedding(VOCABULARY, width, name="embedder")
        self.pre_attention = [UnitRMS(name=f"pre_attention_norm_{i}") for i in range(2)]
        self.attn = [GemmaAttention(4, 8, name=f"attn_{i}") for i in range(2)]
        self.pre_ffw = [UnitRMS(name=f"pre_ffw_norm_{i}") for i in range(2)]
        self.mlp = [GeGLU(width, 64, name=f"mlp_{i}") for i in range(2)]
        self.final = UnitRMS(name="final_norm")

    def call(self, tokens):
        x = self.embedder(tokens) * self.width**0.5
        for before, attn, between, mlp in zip(self.pre_attention, self.attn, self.pre_ffw, self.mlp, strict=True):
            x = x + attn(before(x))
            x = x + mlp(between(x))
        return ops.matmul(self.final(x), ops.transpose(self.embedder.embeddings))


def gemma_like():
    model = Gemma(name="gemma")
    model(np.zeros((2, LENGTH), "int32"))
    return model


# 4. GPT-2, functional, with its own short names.


class TokenAndPosition(layers.Layer):
    def __init__(self, n_embd, **kwargs):
        super().__init__(**kwargs)
        self.wte = layers.Embedding(VOCABULARY, n_embd, name="wte")
        self.wpe = layers.Embedding(LENGTH, n_embd, name="wpe")

    def call(self, idx):
        pos = ops.arange(0, ops.shape(idx)[-1], dtype="int32")
        return self.wte(idx) + self.wpe(pos)


def gpt2_like():
    n_embd = 32
    idx = keras.Input((LENGTH,), dtype="int32", name="idx")
    x = layers.Dropout(0.1)(TokenAndPosition(n_embd, name="embed")(idx))
    for i in range(2):
        h = layers.LayerNormalization(epsilon=1e-5, name=f"h{i}_ln_1")(x)
        h = layers.MultiHeadAttention(4, n_embd // 4, name=f"h{i}_attn")(h, h, use_causal_mask=True)
        x = layers.add([x, layers.Dropout(0.1)(h)])
        h = layers.LayerNormalization(epsilon=1e-5, name=f"h{i}_ln_2")(x)
        h = layers.Dense(4 * n_embd, activation="gelu", name=f"h{i}_c_fc")(h)
        h = layers.Dense(n_embd, name=f"h{i}_c_proj")(h)
        x = layers.add([x, layers.Dropout(0.1)(h)])
    x = layers.LayerNormalization(epsilon=1e-5, name="ln_f")(x)
    return keras.Model(idx, layers.Dense(VOCABULARY, use_bias=False, name="head")(x), name="gpt2")


# 5. PaLM and GPT-J: both branches of a block begin at one normalization and end in one sum.


class ParallelBlock(layers.Layer):
    """y = x + attention(norm(x)) + feed_forward(norm(x))."""

    def __init__(self, d_model, heads, expansion=2, **kwargs):
        super().__init__(**kwargs)
        self.heads = heads
        self.norm = layers.LayerNormalization(center=False, name="norm")
        self.to_q = layers.Dense(d_model, use_bias=False, name="to_q")
        self.to_k = layers.Dense(d_model // heads, use_bias=False, name="to_k")
        self.to_v = layers.Dense(d_model // heads, use_bias=False, name="to_v")
        self.to_out = layers.Dense(d_model, use_bias=False, name="to_out")
        self.ff_act = layers.Dense(expansion * d_model, activation="swish", use_bias=False, name="ff_act")
        self.ff_in = layers.Dense(expansion * d_model, use_bias=False, name="ff_in")
        self.ff_out = layers.Dense(d_model, use_bias=False, name="ff_out")

    def attend(self, x):
        n, d = x.shape[1], x.shape[2]
        q = ops.reshape(self.to_q(x), (-1, n, self.heads, d // self.heads))
        similarity = ops.einsum("bihd,bjd->bhij", q, self.to_k(x)) * (d // self.heads) ** -0.5
        similarity = ops.where(ops.arange(n)[:, None] >= ops.arange(n)[None], similarity, -1e9)
        out = ops.einsum("bhij,bjd->bihd", keras.activations.softmax(similarity), self.to_v(x))
        return self.to_out(ops.reshape(out, (-1, n, d)))

    def call(self, x):
        y = self.norm(x)
        return x + self.attend(y) + self.ff_out(self.ff_in(y) * self.ff_act(y))

    def compute_output_shape(self, shape):
        return shape


def parallel_gpt(d_model=32, depth=2):
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(VOCABULARY, d_model, name="token_emb"),
            *[ParallelBlock(d_model, 4, name=f"palm_{i}") for i in range(depth)],
            layers.LayerNormalization(center=False, name="norm_out"),
            layers.Dense(VOCABULARY, use_bias=False, name="unembed"),
        ],
        name="palm",
    )


# 6. Gate and up projection in one kernel whose result is split.


def fused_gate(c=32):
    def mlp(z, n):
        both = layers.Dense(2 * 48, use_bias=False, name=f"blk{n}_fc1_g")(z)
        g, u = ops.split(both, 2, axis=-1)
        return layers.Dense(c, use_bias=False, name=f"blk{n}_fc2")(keras.activations.silu(g) * u)

    def mixer(z, n):
        mha = layers.MultiHeadAttention(num_heads=2, key_dim=c // 2, use_bias=False, name=f"blk{n}_mixer")
        return mha(query=z, value=z, key=z, use_causal_mask=True)

    t = keras.Input(shape=(LENGTH,), dtype="int32")
    z = layers.Embedding(VOCABULARY, c, name="emb")(t)
    for n in range(2):
        z = layers.Add()([z, mixer(layers.RMSNormalization(name=f"blk{n}_rms1")(z), n)])
        z = layers.Add()([z, mlp(layers.RMSNormalization(name=f"blk{n}_rms2")(z), n)])
    z = layers.RMSNormalization(name="rms")(z)
    return keras.Model(t, layers.Dense(VOCABULARY, name="vocab_proj")(z))


# 7. Each block is a model of its own, attention is written with operations between its layers.


def build_block(width, heads, name):
    inp = keras.Input((LENGTH, width))
    y = layers.RMSNormalization()(inp)
    split = layers.Reshape((LENGTH, heads, width // heads))
    q = split(layers.Dense(width, use_bias=False, name="proj_query")(y))
    k = split(layers.Dense(width, use_bias=False, name="proj_key")(y))
    v = split(layers.Dense(width, use_bias=False, name="proj_value")(y))
    a = ops.dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
    a = layers.Reshape((LENGTH, width))(a)
    mid = layers.Add()([inp, layers.Dense(width, use_bias=False, name="proj_merge")(a)])
    y = layers.RMSNormalization()(mid)
    switch = layers.Activation("silu")(layers.Dense(40, use_bias=False, name="switch")(y))
    signal = layers.Dense(40, use_bias=False, name="signal")(y)
    y = layers.Dense(width, use_bias=False, name="back")(layers.Multiply()([switch, signal]))
    return keras.Model(inp, layers.Add()([mid, y]), name=name)


def nested_blocks():
    words = keras.Input((LENGTH,), dtype="int32", name="words")
    x = layers.Embedding(VOCABULARY, 16, name="words_table")(words)
    for name in ("first_block", "second_block"):
        x = build_block(16, 2, name)(x)
    x = layers.RMSNormalization(name="before_scores")(x)
    return keras.Model(words, layers.Dense(VOCABULARY, use_bias=False, name="scores")(x), name="nested")


# 8. A mixture of two experts whose kernels are made by add_weight; the router's softmax weighs both.


class Expert(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        n = input_shape[-1]
        self.a = self.add_weight(shape=(n, self.units), initializer="glorot_uniform", name="kernel_a")
        self.b = self.add_weight(shape=(n, self.units), initializer="glorot_uniform", name="kernel_b")
        self.c = self.add_weight(shape=(self.units, n), initializer="glorot_uniform", name="kernel_c")

    def call(self, inputs):
        a = ops.matmul(inputs, self.a)
        return ops.matmul(a * ops.sigmoid(a) * ops.matmul(inputs, self.b), self.c)

    def compute_output_shape(self, input_shape):
        return input_shape


class MixtureOfExperts(layers.Layer):
    def __init__(self, units, number=2, **kwargs):
        super().__init__(**kwargs)
        self.router = layers.Dense(number, activation="softmax", use_bias=False, name="router")
        self.experts = [Expert(units, name=f"expert{i}") for i in range(number)]

    def build(self, input_shape):
        self.router.build(input_shape)
        for expert in self.experts:
            expert.build(input_shape)

    def call(self, inputs):
        shares = self.router(inputs)
        outputs = ops.stack([expert(inputs) for expert in self.experts], axis=-1)
        return ops.sum(outputs * shares[..., None, :], axis=-1)


class DecoderLayer(layers.Layer):
    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.norm_1, self.norm_2 = layers.RMSNormalization(name="n1"), layers.RMSNormalization(name="n2")
        self.sa = layers.MultiHeadAttention(4, dim // 4, use_bias=False, name="sa")
        self.moe = MixtureOfExperts(dim, name="moe")

    def build(self, input_shape):
        self.norm_1.build(input_shape)
        self.norm_2.build(input_shape)
        self.sa.build(input_shape, input_shape)
        self.moe.build(input_shape)

    def call(self, x, training=False):
        y = self.norm_1(x)
        x = x + self.sa(y, y, use_causal_mask=True, training=training)
        return x + self.moe(self.norm_2(x))

    def compute_output_shape(self, input_shape):
        return input_shape


def two_experts():
    tokens = keras.Input((LENGTH,), dtype="int32")
    hidden = layers.Embedding(VOCABULARY, 32, name="lookup")(tokens)
    for layer in [DecoderLayer(32, name=f"decoder{i}") for i in range(2)]:
        hidden = layer(hidden)
    hidden = layers.RMSNormalization()(hidden)
    return keras.Model(tokens, layers.Dense(VOCABULARY, use_bias=False, name="readout")(hidden))


# 9. ALBERT: blocks share the weights of one feed-forward network; normalization follows each sum.


class SwiGLU(layers.Layer):
    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, shape):
        self.V = layers.Dense(self.size, name="V")
        self.W = layers.Dense(self.size, name="W")
        self.O = layers.Dense(shape[-1], name="O")
        self.W.build(shape)
        self.V.build(shape)
        self.O.build((*shape[:-1], self.size))

    def call(self, x):
        return self.O(keras.activations.swish(self.W(x)) * self.V(x))


class SharedEncoder(keras.Model):
    def __init__(self, size=32, repeats=2, **kwargs):
        super().__init__(**kwargs)
        self.word = layers.Embedding(VOCABULARY, size, name="word_embeddings")
        self.place = layers.Embedding(LENGTH, size, name="position_embeddings")
        self.embeddings_norm = layers.LayerNormalization(name="embeddings_norm")
        self.selfatt = [layers.MultiHeadAttention(2, size // 2, name=f"selfatt{i}") for i in range(repeats)]
        self.att_norm = [layers.LayerNormalization(name=f"att_norm{i}") for i in range(repeats)]
        self.shared_ffn = SwiGLU(2 * size, name="shared_ffn")
        self.ffn_norm = [layers.LayerNormalization(name=f"ffn_norm{i}") for i in range(repeats)]
        self.mlm = layers.Dense(VOCABULARY, name="mlm")

    def call(self, ids):
        x = self.embeddings_norm(self.word(ids) + self.place(ops.arange(ids.shape[-1])))
        for attention, after_attention, after_ffn in zip(self.selfatt, self.att_norm, self.ffn_norm, strict=True):
            x = after_attention(x + attention(x, x))
            x = after_ffn(x + self.shared_ffn(x))
        return self.mlm(x)


def shared_feed_forward():
    model = SharedEncoder(name="albert")
    model(ops.ones((1, LENGTH), dtype="int32"))
    return model


# 10. A vision transformer, functional with small functions.


class AddPositionEmbs(layers.Layer):
    def build(self, shape):
        self.posemb = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal", name="posemb")

    def call(self, inputs):
        return inputs + self.posemb


def vision_transformer(size=16, patch=4, dim=32, classes=10):
    def encoder_block(x, lyr):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"enc{lyr}_norm_a")(x)
        y = layers.MultiHeadAttention(4, dim // 4, name=f"enc{lyr}_mhsa")(y, y)
        x = layers.Add(name=f"enc{lyr}_sum_a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"enc{lyr}_norm_b")(x)
        y = layers.Dense(2 * dim, name=f"enc{lyr}_expand")(y)
        y = layers.Activation("gelu")(y)
        y = layers.Dense(dim, name=f"enc{lyr}_contract")(y)
        return layers.Add(name=f"enc{lyr}_sum_b")([x, y])

    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(dim, patch, strides=patch, padding="valid", data_format="channels_last", name="stem")(image)
    x = layers.Reshape((-1, dim))(x)
    x = AddPositionEmbs(name="embs")(x)
    for lyr in range(2):
        x = encoder_block(x, lyr)
    x = layers.LayerNormalization(epsilon=1e-6, name="encoder_norm")(x)
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(x)
    return keras.Model(image, layers.Dense(classes, name="classifier")(x), name="vit")


def stock(name):
    """The four kernels of Keras' own attention layer whose name ends so."""
    return {
        "query": [f"{name}/query/kernel"],
        "key": [f"{name}/key/kernel"],
        "value": [f"{name}/value/kernel"],
        "attended": [f"{name}/attention_output/kernel"],
    }


# The endings of the paths of all weights that have a role; an ending stands for both blocks if both are named alike.
ROLES = {
    "llama_functional": {
        "tokens": ["embed_tokens/embeddings"],
        **stock("_self_attn"),
        "gate": ["_mlp_gate_proj/kernel"],
        "inner": ["_mlp_up_proj/kernel"],
        "outer": ["_mlp_down_proj/kernel"],
        "last": ["lm_head/kernel"],
    },
    "llama_by_hand": {
        "tokens": ["tok_embeddings/embeddings"],
        "query": ["/wq/kernel"],
        "key": ["/wk/kernel"],
        "value": ["/wv/kernel"],
        "attended": ["/wo/kernel"],
        "gate": ["/w1/kernel"],
        "inner": ["/w3/kernel"],
        "outer": ["/w2/kernel"],
        "last": ["output/kernel"],
    },
    # The token table also makes the logits: there is no kernel of the role "last".
    "gemma_like": {
        "tokens": ["embedder/embeddings"],
        "query": ["/q_einsum/kernel"],
        "key": ["/k_einsum/kernel"],
        "value": ["/v_einsum/kernel"],
        "attended": ["/attn_vec_einsum/kernel"],
        "gate": ["/wi_0/kernel"],
        "inner": ["/wi_1/kernel"],
        "outer": ["/wo/kernel"],
    },
    "gpt2_like": {
        "tokens": ["wte/embeddings"],
        "positions": ["wpe/embeddings"],
        **stock("_attn"),
        "inner": ["_c_fc/kernel"],
        "outer": ["_c_proj/kernel"],
        "last": ["head/kernel"],
    },
    "parallel_gpt": {
        "tokens": ["token_emb/embeddings"],
        "query": ["/to_q/kernel"],
        "key": ["/to_k/kernel"],
        "value": ["/to_v/kernel"],
        "attended": ["/to_out/kernel"],
        "gate": ["/ff_act/kernel"],
        "inner": ["/ff_in/kernel"],
        "outer": ["/ff_out/kernel"],
        "last": ["unembed/kernel"],
    },
    # One kernel is both: its first half of columns is the gate.
    "fused_gate": {
        "tokens": ["emb/embeddings"],
        **stock("_mixer"),
        "gate": ["_fc1_g/kernel"],
        "inner": ["_fc1_g/kernel"],
        "outer": ["_fc2/kernel"],
        "last": ["vocab_proj/kernel"],
    },
    "nested_blocks": {
        "tokens": ["words_table/embeddings"],
        "query": ["proj_query/kernel"],
        "key": ["proj_key/kernel"],
        "value": ["proj_value/kernel"],
        "attended": ["proj_merge/kernel"],
        "gate": ["switch/kernel"],
        "inner": ["signal/kernel"],
        "outer": ["back/kernel"],
        "last": ["scores/kernel"],
    },
    # The router's kernel has none of these roles.
    "two_experts": {
        "tokens": ["lookup/embeddings"],
        **stock("/sa"),
        "gate": ["expert0/kernel_a", "expert1/kernel_a"],
        "inner": ["expert0/kernel_b", "expert1/kernel_b"],
        "outer": ["expert0/kernel_c", "expert1/kernel_c"],
        "last": ["readout/kernel"],
    },
    "shared_feed_forward": {
        "tokens": ["word_embeddings/embeddings"],
        "positions": ["position_embeddings/embeddings"],
        "query": ["selfatt0/query/kernel", "selfatt1/query/kernel"],
        "key": ["selfatt0/key/kernel", "selfatt1/key/kernel"],
        "value": ["selfatt0/value/kernel", "selfatt1/value/kernel"],
        "attended": ["selfatt0/attention_output/kernel", "selfatt1/attention_output/kernel"],
        "gate": ["shared_ffn/W/kernel"],
        "inner": ["shared_ffn/V/kernel"],
        "outer": ["shared_ffn/O/kernel"],
        "last": ["mlm/kernel"],
    },
    "vision_transformer": {
        "patches": ["stem/kernel"],
        "positions": ["embs/posemb"],
        **stock("_mhsa"),
        "inner": ["_expand/kernel"],
        "outer": ["_contract/kernel"],
        "last": ["classifier/kernel"],
    },
}
