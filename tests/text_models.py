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


def decoder(attention, feedforward, *, embeddings=layers.Embedding):
    """Return a model of two blocks."""
    tokens = keras.Input((6,))
    x = embeddings(300, WIDTH, name="token_embedding")(tokens)
    for block in range(BLOCKS):
        outputs = {"query": WIDTH, "value": WIDTH, "attention_output": WIDTH}
        x = nested(f"transformer_layer_{block}", {attention: outputs, **feedforward})(x)
        x = layers.RMSNormalization(name=f"norm_{block}")(x)
    return keras.Model(tokens, x)


class Tokens(layers.Embedding):
    """An embedding with another table for the logits."""

    def build(self, shape):
        super().build(shape)
        self.reverse = self.add_weight((self.output_dim, self.input_dim), name="reverse_embeddings")


GATED = {"feedforward_intermediate_dense": HIDDEN, "feedforward_output_dense": WIDTH}


def llama():
    """Return a model with the names of Llama."""
    return decoder("self_attention", {"feedforward_gate_dense": WIDTH, **GATED}, embeddings=Tokens)


class Encoder(layers.Layer):
    """A layer that says where its block normalizes."""

    def __init__(self, name):
        super().__init__(name=name)
        self.normalize_first = False

    def call(self, x):
        return x


def bert():
    """Return a model with the names of BERT."""
    model = decoder("self_attention_layer", GATED)
    return keras.Model(model.inputs, Encoder("transformer_layer_2")(model.output))


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
