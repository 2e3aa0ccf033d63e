"""Small models of text whose layers have the names of KerasHub."""

import keras

layers = keras.layers
WIDTH, HIDDEN, EXPERTS, BLOCKS = 48, 80, 3, 2


def nested(name, parts):
    """Return layers with biases in one of this name: the units of each, or those of the layers in it."""
    inside = [keras.Input((6, WIDTH))]
    for part, units in parts.items():
        inside.append(nested(part, units) if isinstance(units, dict) else layers.Dense(units, name=part))
    return keras.Sequential(inside, name=name)


def block(name, attention, *, gated=False, first=True):
    """Return a block of attention and a network, each with a sum and a normalization."""
    inputs = x = keras.Input((6, WIDTH))
    attend = layers.MultiHeadAttention(2, WIDTH // 2, name=attention)
    inner = layers.Dense(HIDDEN, None if gated else "gelu", name="feedforward_intermediate_dense")
    gate = layers.Dense(HIDDEN, "silu", name="feedforward_gate_dense")
    outer = layers.Dense(WIDTH, name="feedforward_output_dense")
    parts = [
        lambda y: attend(y, y),
        lambda y: outer(gate(y) * inner(y) if gated else inner(y)),
    ]
    for number, part in enumerate(parts):
        norm = layers.RMSNormalization(name=f"norm_{number}")
        x = x + part(norm(x)) if first else norm(x + part(x))
    return keras.Model(inputs, x, name=name)


def stack(attention, embeddings=layers.Embedding, **options):
    """Return a model of two blocks."""
    tokens = keras.Input((6,))
    x = embeddings(300, WIDTH, name="token_embedding")(tokens)
    for number in range(BLOCKS):
        x = block(f"transformer_layer_{number}", attention, **options)(x)
    return keras.Model(tokens, x)


class Tokens(layers.Embedding):
    """An embedding with another table for the logits."""

    def build(self, shape):
        super().build(shape)
        self.reverse = self.add_weight((self.output_dim, self.input_dim), name="reverse_embeddings")


NETWORK = {"feedforward_intermediate_dense": HIDDEN, "feedforward_output_dense": WIDTH}


def llama():
    """Return a model with the names of Llama."""
    return stack("self_attention", Tokens, gated=True)


def bert():
    """Return a model with the names of BERT."""
    return stack("self_attention_layer", first=False)


class Experts(layers.Layer):
    """Experts whose kernels are in one array."""

    def build(self, shape):
        self.gate = self.add_weight((EXPERTS, WIDTH, HIDDEN), name="expert_feedforward_gate_dense")
        self.out = self.add_weight((EXPERTS, HIDDEN, WIDTH), name="expert_feedforward_output_dense")

    def call(self, x):
        return x


def mixture():
    """Return a model with the names of Mixtral."""
    tokens = keras.Input((6,))
    x = layers.Embedding(300, WIDTH, name="token_embedding")(tokens)
    parts = {"self_attention": {"query": WIDTH, "attention_output": WIDTH}, "sparse_feedforward_gate_dense": WIDTH}
    for block in range(BLOCKS):
        x = nested(f"transformer_layer_{block}", parts)(x)
        x = keras.Sequential([keras.Input((6, WIDTH)), Experts(name="experts")], name=f"layer_{block}")(x)
    return keras.Model(tokens, x)


def whisper():
    """Return a model with the names of Whisper."""
    frames, tokens = keras.Input((8, 10)), keras.Input((6,))
    x = layers.Conv1D(WIDTH, 3, name="encoder_token_embedding_conv_layer_1")(frames)
    x = nested("transformer_encoder_layer_0", {"self_attention_layer": {"query": WIDTH}, **NETWORK})(x)
    embedding = [keras.Input((6,)), layers.Embedding(300, WIDTH, name="token_embedding")]
    y = keras.Sequential(embedding, name="decoder_token_and_position_embedding")(tokens)
    y = nested("transformer_decoder_layer_0", {"cross_attention": {"value": WIDTH}, **NETWORK})(y)
    return keras.Model([frames, tokens], [x, y])
