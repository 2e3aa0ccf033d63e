"""Backbones of KerasHub, made from their arguments, are diagnosed: what is wrong with them is their initializers."""

import keras
import numpy as np
import pytest
from modes import to_numpy

import keras_initx
from keras_initx.models import weights_digest

keras_hub = pytest.importorskip("keras_hub")

GENERATOR = np.random.default_rng(0)
SIZES = {"vocabulary_size": 50, "num_layers": 4, "hidden_dim": 32}
GROUPED = {**SIZES, "num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 64}
PADDED = {"token_ids": GENERATOR.integers(1, 50, (8, 12)), "padding_mask": np.ones((8, 12), "int32")}
IMAGES = GENERATOR.normal(size=(8, 32, 32, 3)).astype("float32")


def gpt2():
    return keras_hub.models.GPT2Backbone(**SIZES, num_heads=4, intermediate_dim=64, max_sequence_length=16), PADDED


def llama():
    return keras_hub.models.LlamaBackbone(**GROUPED), PADDED


def bert():
    model = keras_hub.models.BertBackbone(**SIZES, num_heads=4, intermediate_dim=64, max_sequence_length=16)
    return model, {**PADDED, "segment_ids": np.zeros((8, 12), "int32")}


def vit():
    sizes = {"num_layers": 4, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 64}
    return keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=8, **sizes), IMAGES


def gemma():
    return keras_hub.models.GemmaBackbone(**GROUPED, head_dim=8), PADDED


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


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (gpt2, set()),
        (llama, {("twin tensors", "warning")}),
        (bert, set()),
        (vit, set()),
        (gemma, {("twin tensors", "warning")}),
        (mistral, {("twin tensors", "warning")}),
        (resnet, set()),
    ],
)
def test_backbones(build, expected):
    keras.utils.set_random_seed(0)
    model, x = build()
    before = [to_numpy(variable.value).copy() for variable in model.variables]
    # A normalized output has the same mean square whatever the weights, so targets of zero would give no gradient.
    y = keras.tree.map_structure(lambda output: GENERATOR.normal(size=output.shape).astype("float32"), model(x))
    report = keras_initx.diagnose(model, x, y, loss=_square)
    assert {(verdict.problem, verdict.level) for verdict in report.problems} == expected, str(report)
    assert all(layer.gradient_norm is not None for layer in report.layers if layer.weights)
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other.value))


def _square(targets, outputs):
    pairs = zip(keras.tree.flatten(targets), keras.tree.flatten(outputs), strict=True)
    return sum(keras.ops.mean(keras.ops.square(keras.ops.subtract(output, target))) for target, output in pairs)


def test_kernels_that_share_an_initializer_are_named():
    keras.utils.set_random_seed(0)
    (verdict,) = keras_initx.diagnose(*llama()).problems
    assert verdict.problem == "twin tensors"
    for name in ("query/kernel", "key/kernel", "value/kernel", "attention_output/kernel"):
        assert f"transformer_layer_0/self_attention/{name}" in verdict.evidence
    assert "a string id" in verdict.remedy


DIGESTS = {
    gpt2: "fe74f7da6ba9a19a00878b29163ec953",
    llama: "d7ccdb474f547673d22972b4ab6581d4",
    bert: "e538c18523b061a5667fcffd1027cc6f",
    vit: "dc479d025e89f5eca31c7426ce7f6ef8",
    gemma: "a95a04d507ec012d47304e544cbe6e49",
    mistral: "d7ccdb474f547673d22972b4ab6581d4",
    resnet: "071285a854a9194050002118c762d67d",
}


@pytest.mark.parametrize(("build", "digest"), DIGESTS.items())
def test_a_seed_gives_the_same_model_on_every_backend(build, digest):
    model, x = build()
    model(x)  # what is drawn does not depend on what else was
    assert not keras_initx.initialize(model, seed=0).left
    assert weights_digest(model) == digest


def test_a_llama_drawn_anew_has_no_twins():
    model, x = llama()
    keras_initx.initialize(model, seed=0)
    assert keras_initx.diagnose(model, x).problems == []
