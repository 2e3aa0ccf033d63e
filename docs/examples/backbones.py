"""Compare the outputs and the first training step of sixteen backbones over the backends.

`KERAS_BACKEND=jax python docs/examples/backbones.py`, and again with the other backends; it needs
keras-hub. All draw the same weights from one seed. Each run records what it computes in the folder
`--records`, and compares it with what others have recorded there.
"""

import argparse
from pathlib import Path

import keras_initx

import keras
import keras_hub
import numpy as np

GENERATOR = np.random.default_rng(0)
SIZES = {"vocabulary_size": 50, "num_layers": 4, "hidden_dim": 32}
GROUPED = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 64}
MASK = np.ones((8, 12), "int32")
PADDED = {"token_ids": GENERATOR.integers(1, 50, (8, 12)), "padding_mask": MASK}
IMAGES = GENERATOR.normal(size=(8, 32, 32, 3)).astype("float32")
WITH_POSITIONS = {**SIZES, "num_heads": 4, "intermediate_dim": 64, "max_sequence_length": 16}


def gpt2():
    """Return a GPT-2, and inputs for it."""
    return keras_hub.models.GPT2Backbone(**WITH_POSITIONS), PADDED


def llama():
    """Return a Llama, and inputs for it."""
    return keras_hub.models.LlamaBackbone(**GROUPED), PADDED


def bert():
    """Return a BERT, and inputs for it."""
    x = {**PADDED, "segment_ids": np.zeros((8, 12), "int32")}
    return keras_hub.models.BertBackbone(**WITH_POSITIONS), x


def vit():
    """Return a vision transformer, and inputs for it."""
    sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64}
    return keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=8, **sizes), IMAGES


def gemma():
    """Return a Gemma, and inputs for it."""
    return keras_hub.models.GemmaBackbone(**GROUPED, head_dim=8), PADDED


def gemma3():
    """Return a Gemma 3, and inputs for it."""
    return keras_hub.models.Gemma3Backbone(**GROUPED, head_dim=8, image_size=None), PADDED


def t5():
    """Return a T5, and inputs for it."""
    # The heads together are narrower than the embeddings, as in T5 1.1 small.
    heads = {"num_heads": 2, "key_value_dim": 8}
    model = keras_hub.models.T5Backbone(**SIZES, **heads, intermediate_dim=64, dropout=0.0)
    x = {f"{part}_{name}": PADDED[name] for part in ("encoder", "decoder") for name in PADDED}
    return model, x


def mistral():
    """Return a Mistral, and inputs for it."""
    return keras_hub.models.MistralBackbone(**GROUPED, sliding_window=8), PADDED


def resnet():
    """Return a ResNet, and inputs for it."""
    model = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 1, 2, 1],
        block_type="basic_block",
        image_shape=(32, 32, 3),
    )
    return model, IMAGES


def mixtral():
    """Return a Mixtral, and inputs for it."""
    return keras_hub.models.MixtralBackbone(**GROUPED, num_experts=4, top_k=2), PADDED


def qwen():
    """Return a Qwen, and inputs for it."""
    return keras_hub.models.QwenBackbone(**GROUPED), PADDED


def phi3():
    """Return a Phi 3, and inputs for it."""
    return keras_hub.models.Phi3Backbone(**GROUPED), PADDED


def bloom():
    """Return a BLOOM, and inputs for it."""
    return keras_hub.models.BloomBackbone(**SIZES, num_heads=4, intermediate_dim=64), PADDED


def falcon():
    """Return a Falcon, and inputs for it."""
    model = keras_hub.models.FalconBackbone(
        vocabulary_size=50, num_layers=4, num_attention_heads=4, hidden_dim=32, intermediate_dim=64
    )
    return model, PADDED


def deberta():
    """Return a DeBERTa 3, and inputs for it."""
    return keras_hub.models.DebertaV3Backbone(**WITH_POSITIONS, bucket_size=8), PADDED


def opt():
    """Return an OPT, and inputs for it."""
    return keras_hub.models.OPTBackbone(**WITH_POSITIONS), PADDED


BUILDS = {
    build.__name__: build
    for build in (
        gpt2,
        llama,
        bert,
        vit,
        gemma,
        gemma3,
        t5,
        mistral,
        resnet,
        mixtral,
        qwen,
        phi3,
        bloom,
        falcon,
        deberta,
        opt,
    )
}


def drawn(build):
    """Return a backbone with the same weights on every backend, none 0 or 1, and its inputs."""
    keras.utils.set_random_seed(0)
    model, x = build()
    keras_initx.initialize(model, seed=0)
    generator = np.random.default_rng(1)
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if not values.std():
            # A moving variance stays above 0.
            weight.assign(values + abs(generator.normal(0, 0.1, values.shape)))
    return model, x


def with_head(name):
    """Return a compiled classifier on a backbone, its inputs and targets."""
    backbone, x = drawn(BUILDS[name])
    outputs = backbone.outputs
    if isinstance(backbone.output, dict):
        outputs = [tensor for tensor in backbone.output.values() if len(tensor.shape) > 1]
    features = keras.ops.mean(outputs[0], axis=tuple(range(1, len(outputs[0].shape) - 1)))
    head = keras.layers.Dense(3, name="head")
    model = keras.Model(backbone.inputs, head(features))
    keras_initx.initialize(model, {"head/*": "initx.glorot_uniform"}, seed=2)
    # Adam squares the gradient of each use of a row of an embedding on TensorFlow.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    count = len(keras.tree.flatten(x)[0])
    return model, x, np.arange(count) % 3


def compared(name, folder):
    """Record a backbone, and yield how it compares with what each other backend has recorded."""
    model, x, y = with_head(name)
    here = keras.backend.backend()
    path = folder / f"{name}_by_{here}.npz"
    keras_initx.record_outputs(model, x, y).save(path)
    for other in sorted(folder.glob(f"{name}_by_*.npz")):
        if other != path:
            there = other.stem.partition("_by_")[2]
            yield there, keras_initx.compare_outputs(model, x, other, y=y)


def main(arguments=None):
    """Compare all, and print a row for each backbone and backend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path("out", "backbones")
    parser.add_argument("--records", type=Path, default=folder, help="folder")
    parser.add_argument("--names", nargs="+", default=list(BUILDS), help="some of the backbones")
    options = parser.parse_args(arguments)
    options.records.mkdir(parents=True, exist_ok=True)
    here = keras.backend.backend()
    equal = steps = count = 0
    print(f"{here} and    backbone  calls  equal  most differ  tolerance  weights  first step")
    for name in options.names:
        for there, report in compared(name, options.records):
            rows = [row for row in report.rows if row.outputs is not None and row.tolerance]
            worst = max(rows, key=lambda row: row.outputs / row.tolerance)
            same = sum(row.status == "equal" for row in rows)
            trained = sum(row.kind == "trained" for row in report.step.rows)
            step = "equal" if report.step.ok else "differs"
            print(
                f"{there:<10} {name:>9} {len(report.rows):>6} {same:>6} {worst.outputs:>12.1e} "
                f"{worst.tolerance:>10.0e} {trained:>8}  {step}"
            )
            count += 1
            equal += report.first is None and all(row.status != "differs" for row in report.rows)
            steps += report.step.ok
    print(f"{count} comparisons of {here}: {equal} without a difference, {steps} equal steps.")


if __name__ == "__main__":
    main()
