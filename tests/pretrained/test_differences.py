"""What a model computes otherwise than its counterpart in torch is told."""

import keras
from modes import BACKEND

from keras_initx import load_pretrained

if BACKEND == "torch":
    import torch

layers = keras.layers


def test_another_epsilon_than_that_of_torch_is_to_be_checked():
    norms = [layers.LayerNormalization(name="a"), layers.BatchNormalization(epsilon=1e-5, name="b")]
    model = keras.Sequential([keras.Input((4,)), *norms])
    state = {f"{name}.{one}": torch.rand(4) for name in "ab" for one in ("weight", "bias")}
    plan = load_pretrained(model, state, layout="torch")
    assert [row.how for row in plan.rows[:4]] == ["check epsilon: 0.001, in torch 1e-05 by default", "", "", ""]
