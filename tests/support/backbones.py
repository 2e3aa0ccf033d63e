"""Small backbones of KerasHub, each with inputs for it."""

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
    return keras_hub.models.GPT2Backbone(**WITH_POSITIONS), PADDED


def llama():
    return keras_hub.models.LlamaBackbone(**GROUPED), PADDED


def bert():
    return keras_hub.models.BertBackbone(**WITH_POSITIONS), {**PADDED, "segment_ids": np.zeros((8, 12), "int32")}


def vit():
    sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64}
    return keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=8, **sizes), IMAGES


def gemma():
    return keras_hub.models.GemmaBackbone(**GROUPED, head_dim=8), PADDED


def gemma3():
    return keras_hub.models.Gemma3Backbone(**GROUPED, head_dim=8, image_size=None), PADDED


def t5():
    # The heads together are narrower than the embeddings, as in T5 1.1 small.
    model = keras_hub.models.T5Backbone(**SIZES, num_heads=2, key_value_dim=8, intermediate_dim=64, dropout=0.0)
    return model, {f"{part}_{name}": value for part in ("encoder", "decoder") for name, value in PADDED.items()}


def mistral():
    return keras_hub.models.MistralBackbone(**GROUPED, sliding_window=8), PADDED


def resnet():
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
    return keras_hub.models.MixtralBackbone(**GROUPED, num_experts=4, top_k=2), PADDED


def qwen():
    return keras_hub.models.QwenBackbone(**GROUPED), PADDED


def phi3():
    return keras_hub.models.Phi3Backbone(**GROUPED), PADDED


def bloom():
    return keras_hub.models.BloomBackbone(**SIZES, num_heads=4, intermediate_dim=64), PADDED


def falcon():
    model = keras_hub.models.FalconBackbone(
        vocabulary_size=50, num_layers=4, num_attention_heads=4, hidden_dim=32, intermediate_dim=64
    )
    return model, PADDED


def deberta():
    return keras_hub.models.DebertaV3Backbone(**WITH_POSITIONS, bucket_size=8), PADDED


def opt():
    return keras_hub.models.OPTBackbone(**WITH_POSITIONS), PADDED
