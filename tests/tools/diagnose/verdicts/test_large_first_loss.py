"""A first loss is compared with that of a blind guess."""

import numpy as np
from judged import X, mlp

import keras_initx


def test_targets_that_are_all_the_same_have_no_first_loss_to_compare_with():
    assert keras_initx.diagnose(mlp("relu", depth=1), X, np.ones((256, 5)), loss="mse").ok
