"""What only TensorFlow does."""

import sys
import types

import pytest
from modes import BACKEND

from keras_initx.backends._current import backend
from keras_initx.sampling import _stream
from keras_initx.sampling._namespace import DEVICE

pytestmark = pytest.mark.every_backend


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's programs")
def test_where_tensorflow_cannot_compile_the_host_makes_all(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf, "fill", lambda *arguments: types.SimpleNamespace(device="/device:GPU:0"))
    assert backend.on_accelerator() is True
    monkeypatch.setattr(sys, "platform", "darwin")
    assert backend.on_accelerator() is False


@pytest.mark.skipif(BACKEND != "tensorflow", reason="updates of TensorFlow")
def test_no_words_are_updated_as_integers_which_tensorflow_keeps_on_the_host(way, monkeypatch):
    import tensorflow as tf

    dtypes, update = [], tf.raw_ops.InplaceUpdate
    monkeypatch.setattr(tf.raw_ops, "InplaceUpdate", lambda x, i, v: dtypes.append(x.dtype) or update(x=x, i=i, v=v))
    assert _stream.Stream((1, 0), xp=DEVICE).words(0, (3000,)).dtype == tf.int32
    assert dtypes == [tf.float32] * 3
