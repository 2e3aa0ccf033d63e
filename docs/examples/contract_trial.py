"""Compare draws of models with each other: alarms where nothing changed, and planted faults found.

`KERAS_BACKEND=torch python docs/examples/contract_trial.py`; it needs keras-hub and transformers.
"""

import argparse
import collections
import math

import keras_initx
from keras_initx.structure import find_weights

import audit_alarms
import keras
import numpy as np
import torch
import transformers

layers = keras.layers
ALPHA = 0.01
INITIALIZERS = (
    "glorot_uniform",
    "glorot_normal",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "orthogonal",
    "initx.sparse",
    "initx.orthogonal",
    "initx.fan_in_normal",
    "initx.small_normal",
    "initx.he_normal",
)
SIZES = (64, 256, 1024, 4096, 16384, 65536)


def sequence(*parts, shape=(16, 24)):
    """Return a function that makes a network of layers, which functions make."""
    return lambda: keras.Sequential([keras.Input(shape), *[part() for part in parts]])


def dense(initializer):
    """Return a function that makes a dense network."""

    def build():
        return keras.Sequential(
            [
                keras.Input((48,)),
                layers.Dense(96, "relu", kernel_initializer=initializer),
                layers.Dense(96, "relu", kernel_initializer=initializer),
                layers.Dense(10, kernel_initializer=initializer),
            ]
        )

    return build


def attention(layer):
    """Return a function that makes a network with a layer of attention."""

    def build():
        inputs = keras.Input((16, 32))
        return keras.Model(inputs, layer()(inputs, inputs))

    return build


def keras_models():
    """Return functions that make networks of Keras, by name."""
    image = (16, 16, 8)
    found = {f"dense {name}": dense(name) for name in INITIALIZERS}
    found |= {
        "LSTM": sequence(lambda: layers.LSTM(32)),
        "GRU": sequence(lambda: layers.GRU(32)),
        "SimpleRNN": sequence(lambda: layers.SimpleRNN(32)),
        "Bidirectional": sequence(lambda: layers.Bidirectional(layers.LSTM(16))),
        "ConvLSTM1D": sequence(lambda: layers.ConvLSTM1D(8, 3), shape=(4, 16, 8)),
        "Conv1D": sequence(lambda: layers.Conv1D(32, 3)),
        "Conv2D": sequence(lambda: layers.Conv2D(32, 3), shape=image),
        "Conv3D": sequence(lambda: layers.Conv3D(16, 3), shape=(8, 8, 8, 4)),
        "Conv2DTranspose": sequence(lambda: layers.Conv2DTranspose(16, 3), shape=image),
        "DepthwiseConv2D": sequence(lambda: layers.DepthwiseConv2D(3), shape=image),
        "SeparableConv2D": sequence(lambda: layers.SeparableConv2D(16, 3), shape=image),
        "EinsumDense": sequence(lambda: layers.EinsumDense("abc,cde->abde", (None, 4, 16))),
        "MultiHeadAttention": attention(lambda: layers.MultiHeadAttention(4, 16)),
        "GroupQueryAttention": attention(lambda: layers.GroupQueryAttention(16, 4, 2)),
        "Embedding": sequence(lambda: layers.Embedding(200, 32), shape=(8,)),
        "MobileNetV2": lambda: keras.applications.MobileNetV2(
            weights=None, input_shape=(32, 32, 3), alpha=0.35, classes=10
        ),
        "MobileNetV3Small": lambda: keras.applications.MobileNetV3Small(
            weights=None, input_shape=(32, 32, 3), alpha=0.35, classes=10, minimalistic=True
        ),
    }
    seen = set()
    for recipe, _, build in audit_alarms.ROWS:
        if build not in seen and recipe not in seen:
            found[f"model of {recipe}"] = build
        seen |= {build, recipe}
    return found


# Sizes of transformers under the names that its classes know.
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 200,
}
GROUPED = {**SMALL, "num_key_value_heads": 1}
LAYERED = {"d_model": 32, "vocab_size": 200, "max_position_embeddings": 32}
TRANSFORMERS = {
    "Albert": {**SMALL, "embedding_size": 16},
    "Bart": {
        **LAYERED,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
    "Bert": SMALL,
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2, "vocab_size": 200},
    "ConvNext": {"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 2, 1]},
    "DebertaV2": SMALL,
    "DistilBert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2, "vocab_size": 200},
    "Electra": {**SMALL, "embedding_size": 16},
    "Falcon": SMALL,
    "Gemma": {**GROUPED, "head_dim": 16},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 200, "n_positions": 32},
    "GPTNeoX": SMALL,
    "Llama": GROUPED,
    "Mamba": {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 200},
    "Mistral": GROUPED,
    "MPNet": SMALL,
    "OPT": {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 32},
    "Phi": GROUPED,
    "Qwen2": GROUPED,
    "Roberta": SMALL,
    "Swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32},
    "T5": {
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 200,
    },
    "ViT": {**SMALL, "image_size": 32, "patch_size": 8},
    "XLNet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "vocab_size": 200},
}


def transformers_models():
    """Return functions that make the weights of small models of transformers, by name."""
    found = {}
    for name, sizes in TRANSFORMERS.items():
        config = getattr(transformers, f"{name}Config")
        model = getattr(transformers, f"{name}Model")

        def build(config=config, model=model, sizes=sizes):
            return model(config(**sizes)).state_dict()

        found[f"transformers {name}"] = build
    return found


def arrays_of(weights):
    """Return the weights of a model, or the tensors of torch, as arrays by name."""
    if isinstance(weights, keras.Model):
        found = find_weights(weights)
        return {weight.path: keras.ops.convert_to_numpy(weight.variable) for weight in found}
    return {name: value.detach().numpy() for name, value in weights.items()}


def clean(build, pairs, alpha):
    """Return the number of weights, and how many of `pairs` of successive draws raise an alarm."""
    alarms = 0
    last = None
    for seed in range(pairs + 1):
        keras.utils.set_random_seed(1000 + seed)
        draw = keras_initx.contract(build())
        if last is not None:
            report = keras_initx.audit(draw, last, alpha=alpha)
            alarms += not report.ok
            if not report.ok:
                one = report.problems[0]
                print(f"    {one.path} {one.shape}: {one.verdict}, {one.evidence}", flush=True)
        last = draw
    return len(last.weights), alarms


def redrawn(family):
    """Return a fault: the weight is of another family, with its mean and deviation."""

    def plant(values, rng, others):
        mean, std = values.mean(), values.std()
        if family == "uniform":
            drawn = rng.uniform(-math.sqrt(3), math.sqrt(3), values.shape)
        elif family == "normal":
            drawn = rng.normal(size=values.shape)
        else:
            drawn = rng.normal(size=(8, *values.shape))
            inside = np.abs(drawn) < 2
            drawn = np.take_along_axis(drawn, inside.argmax(axis=0)[None], axis=0)[0] / 0.8796
        return (mean + std * drawn).astype(values.dtype)

    return plant


def scaled(factor):
    """Return a fault: another scale."""
    return lambda values, rng, others: values * np.float32(factor)


def other_fan(values, rng, others):
    """The fan of the other axis."""
    first, last = math.prod(values.shape[:-1]), values.shape[-1]
    if values.ndim < 2 or first == last:
        return None
    return values * np.float32(math.sqrt(first / last))


def third(values, rng, others):
    """A third of the outputs with a larger scale."""
    if values.shape[-1] % 3:
        return None
    changed = values.copy()
    changed[..., : values.shape[-1] // 3] *= np.float32(math.sqrt(2))
    return changed


def default_left(values, rng, others):
    """The default of torch's linear layers."""
    limit = 1 / math.sqrt(math.prod(values.shape[:-1]))
    changed = rng.uniform(-limit, limit, values.shape).astype(values.dtype)
    if values.ndim < 2 or abs(changed.std() / values.std() - 1) < 0.05:
        return None
    return changed


def twin(values, rng, others):
    """Equal to another weight."""
    return next((other.copy() for other in others if other.shape == values.shape), None)


def rounded(values, rng, others):
    """Rounded to bfloat16."""
    return (values.view("uint32") & 0xFFFF0000).view("float32")


# What is planted in random weights.
FAULTS = {
    "0.9 times": scaled(0.9),
    "1.1 times": scaled(1.1),
    "1.19 times": scaled(1.19),
    "1.41 times": scaled(math.sqrt(2)),
    "depth factor lost": scaled(2.0),
    "other fan": other_fan,
    "default left": default_left,
    "uniform instead": redrawn("uniform"),
    "normal instead": redrawn("normal"),
    "truncated instead": redrawn("truncated normal"),
    "third of outputs": third,
    "twin": twin,
    "rounded to 16 bits": rounded,
    "zeros": lambda values, rng, others: np.zeros_like(values),
}
# Faults that are none in weights which may be of these families.
OWN = {
    "uniform instead": "uniform",
    "normal instead": "normal",
    "truncated instead": "truncated normal",
}
# What is planted in constants: zeros that were drawn, and gates that lost their bias.
CONSTANTS = {
    "zeros lost": lambda values, rng: rng.normal(0, 0.02, values.shape).astype("float32"),
    "constant changed": lambda values, rng: 1 - values,
}


def plant(name, build, count, seed, found):
    """Plant `count` faults in draws of a model, and add to `found` whether they were seen."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(2 * seed)
    yesterday = keras_initx.contract(build())
    kinds = {weight.path: weight for weight in yesterday.weights}
    keras.utils.set_random_seed(2 * seed + 1)
    arrays = arrays_of(build())
    random = [path for path, weight in kinds.items() if weight.kind == "random"]
    constant = [path for path, weight in kinds.items() if weight.kind in ("constant", "fixed")]
    for _ in range(count):
        if constant and rng.random() < 0.15:
            path = str(rng.choice(constant))
            fault = str(rng.choice(list(CONSTANTS)))
            changed = CONSTANTS[fault](arrays[path], rng)
        elif random:
            path = str(rng.choice(random))
            fault = str(rng.choice(list(FAULTS)))
            others = [arrays[other] for other in random if other != path]
            is_float = arrays[path].dtype == np.float32
            families = kinds[path].statistics.families
            if not is_float or "orthonormal" in families or OWN.get(fault) in families:
                continue
            changed = FAULTS[fault](arrays[path], rng, others)
        else:
            continue
        if changed is None or not changed.size:
            continue
        report = keras_initx.audit({**arrays, path: changed}, yesterday, alpha=ALPHA)
        # Of twins, either may be named.
        seen = {weight.path for weight in report.problems}
        is_seen = path in seen or (fault == "twin" and bool(seen))
        statistics = kinds[path].statistics
        count_of_values = changed.size if statistics is None else statistics.size
        size = next((size for size in SIZES if count_of_values < size), math.inf)
        found[fault, size].append(is_seen)
        if not is_seen and size > 4096:
            print(f"    {name}: {fault} not seen in {path} {changed.shape}", flush=True)


def main(arguments=None):
    """Compare clean pairs, plant faults, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=140, help="clean pairs of each model")
    parser.add_argument("--faults", type=int, default=20, help="planted faults of each model")
    parser.add_argument("--only", default="", help="models with this in their names")
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    builds = {**keras_models(), **transformers_models()}
    builds = {name: build for name, build in builds.items() if options.only in name}
    pairs = alarms = 0
    print(f"{'model':32}{'weights':>8}{'pairs':>7}{'alarms':>8}")
    found = collections.defaultdict(list)
    for number, (name, build) in enumerate(builds.items()):
        weights, of_model = clean(build, options.pairs, ALPHA)
        pairs += options.pairs
        alarms += of_model
        print(f"{name:32}{weights:8}{options.pairs:7}{of_model:8}", flush=True)
        plant(name, build, options.faults, number, found)
    print(f"{len(builds)} models, {pairs} pairs, {alarms} alarms at alpha {ALPHA}")
    print()
    sizes = (*SIZES, math.inf)
    heads = (*SIZES, "more")
    print(f"{'values below':20}" + "".join(f"{head:>8}" for head in heads))
    for fault in (*FAULTS, *CONSTANTS):
        cells = []
        for size in sizes:
            seen = found[fault, size]
            cells.append(f"{sum(seen)}/{len(seen)}" if seen else "")
        print(f"{fault:20}" + "".join(f"{cell:>8}" for cell in cells))
    print(f"{sum(map(len, found.values()))} faults planted")
    large = [seen for (_, size), all_seen in found.items() if size > 4096 for seen in all_seen]
    print(f"{sum(large)} of {len(large)} seen in weights of 4,096 values or more")


if __name__ == "__main__":
    main()
