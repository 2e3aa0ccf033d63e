"""Count the alarms of audits of models that were initialized by the same recipe.

`KERAS_BACKEND=torch python docs/examples/recipe_alarms.py`; it needs keras-hub.
"""

import argparse
import functools
import math

import keras_initx
from keras_initx import recipes

import keras_hub

ALPHA = 0.01
TEXT = {"vocabulary_size": 300, "num_layers": 2, "hidden_dim": 48, "intermediate_dim": 96}
HEADS = {**TEXT, "num_heads": 4, "max_sequence_length": 16}
GROUPED = {**TEXT, "num_query_heads": 4, "num_key_value_heads": 2}


def backbone(name, **sizes):
    """Return a small backbone of KerasHub."""
    return getattr(keras_hub.models, name)(**sizes)


def whisper():
    """Return a small Whisper."""
    lengths = {"max_encoder_sequence_length": 32, "max_decoder_sequence_length": 16}
    return keras_hub.models.WhisperBackbone(**TEXT, num_heads=4, num_mels=8, **lengths)


def clip():
    """Return a small CLIP."""
    blocks = {"num_layers": 2, "num_heads": 4, "hidden_dim": 48, "intermediate_dim": 96}
    images = backbone("CLIPVisionEncoder", **blocks, patch_size=8, image_shape=(32, 32, 3))
    sizes = {"vocabulary_size": 300, "embedding_dim": 48, "max_sequence_length": 16}
    texts = backbone("CLIPTextEncoder", **blocks, **sizes)
    return keras_hub.models.CLIPBackbone(images, texts, projection_dim=32)


# A recipe, its source, and a model.
ROWS = (
    ("gpt2", None, functools.partial(backbone, "GPT2Backbone", **HEADS)),
    ("llama", "transformers", functools.partial(backbone, "LlamaBackbone", **GROUPED)),
    (
        "llama",
        "megatron",
        functools.partial(backbone, "MixtralBackbone", **GROUPED, num_experts=4, top_k=2),
    ),
    ("llama", "olmo", functools.partial(backbone, "LlamaBackbone", **GROUPED)),
    ("llama", "torchtitan", functools.partial(backbone, "LlamaBackbone", **GROUPED)),
    ("bert", "bert", functools.partial(backbone, "BertBackbone", **HEADS)),
    ("bert", "transformers", functools.partial(backbone, "RobertaBackbone", **HEADS)),
    ("whisper", "paper", whisper),
    ("whisper", "transformers", whisper),
    ("clip", "openai", clip),
    ("clip", "transformers", clip),
)


def alarms(model, rules, draws):
    """Return how many of `draws` audits raise an alarm."""
    count = 0
    for seed in range(draws):
        keras_initx.initialize(model, rules, seed=seed, atomic=False)
        count += not keras_initx.audit(model, rules, alpha=ALPHA).ok
    return count


def chance(draws, count):
    """Return the probability of `count` alarms or more if each draw raises one with `ALPHA`."""
    below = 0.0
    for number in range(count):
        below += math.comb(draws, number) * ALPHA**number * (1 - ALPHA) ** (draws - number)
    return 1 - below


def main(arguments=None):
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300, help="of each model; default: 300")
    draws = parser.parse_args(arguments).draws
    print(
        f"{'recipe':9}{'source':14}{'weights':>8}{'draws':>7}{'alarms':>8}{'at least as many':>18}"
    )
    total = 0
    for name, source, build in ROWS:
        recipe = getattr(recipes, name)
        if source is not None:
            recipe = functools.partial(recipe, source=source)
        model = build()
        found = alarms(model, recipe(model), draws)
        total += found
        print(
            f"{name:9}{source or '':14}{len(model.weights):8}{draws:7}{found:8}"
            f"{chance(draws, found):18.2g}",
            flush=True,
        )
    count = draws * len(ROWS)
    print(f"{'all':31}{count:7}{total:8}{chance(count, total):18.2g}")


if __name__ == "__main__":
    main()
