"""What Keras draws is the same in each run, whatever the order, and nothing else has changed."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import to_numpy

from keras_initx.tools.compare_outputs._equal_draws import equal_draws


@pytest.mark.every_backend
def test_draws_follow_from_the_shape():
    with equal_draws():
        first = to_numpy(keras.random.normal((3,)))
        keras.random.uniform((5,), seed=3)
        assert np.array_equal(first, to_numpy(keras.random.normal((3,), seed=1)))
        np.testing.assert_allclose(first, [-1.9539592, -0.17342581, 1.1281362], rtol=1e-6)
        assert to_numpy(keras.random.randint((5,), 0, 7)).tolist() == [2, 4, 2, 5, 2]
        assert abs(to_numpy(keras.random.truncated_normal((100,), 1.0, 0.5)) - 1).max() <= 1
        scaled = to_numpy(keras.random.uniform((100,), 2, 4))
        assert 2 < scaled.min() < 2.2
        assert 3.8 < scaled.max() < 4


def test_dropout_is_on_and_the_same():
    x = np.ones((50, 40), "float32")
    with equal_draws():
        one = to_numpy(layers.Dropout(0.25)(x, training=True))
        other = to_numpy(layers.Dropout(0.25, seed=7)(x, training=True))
        by_axis = to_numpy(layers.SpatialDropout1D(0.5)(x[:, :, None], training=True))
        assert not to_numpy(keras.random.dropout(x, 1.0)).any()
    assert np.array_equal(one, other)
    assert abs((one == 0).mean() - 0.25) < 0.05
    assert set(np.unique(one)) == {np.float32(0), np.float32(1 / 0.75)}
    assert by_axis.shape == (50, 40, 1)


def test_a_cell_of_an_rnn_draws_the_same():
    cell = layers.LSTMCell(8, dropout=0.5, recurrent_dropout=0.3)
    rnn = layers.RNN(cell)
    x = np.ones((4, 6, 3), "float32")
    with equal_draws():
        assert np.array_equal(to_numpy(rnn(x, training=True)), to_numpy(rnn(x, training=True)))


def test_draws_are_random_again_afterward():
    before = keras.random.normal
    with pytest.raises(RuntimeError), equal_draws():
        raise RuntimeError
    assert keras.random.normal is before
    generator = keras.random.SeedGenerator(0)
    draws = [to_numpy(keras.random.normal((3,), seed=generator)) for _ in range(2)]
    assert not np.array_equal(*draws)
    assert not np.array_equal(draws[0], ops.convert_to_numpy(layers.GaussianNoise(1.0)(np.zeros(3), training=True)))
