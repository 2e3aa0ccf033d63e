"""Random words are those of Threefry's authors."""

import numpy as np
import pytest
from modes import to_numpy

from keras_initx.sampling._namespace import HOST, TRACED
from keras_initx.sampling._words import threefry2x32

# Known answers of Threefry-2x32 with 20 rounds: key, counter, result.
KNOWN = (
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
)


def words(xp, values):
    arrays = [np.array([value], "uint32").astype(xp.word) for value in values]
    return arrays if xp is HOST else [xp.convert_to_tensor(array) for array in arrays]


@pytest.mark.parametrize("xp", [HOST, TRACED], ids=["host", "traced"])
@pytest.mark.parametrize(("key", "counter", "result"), KNOWN)
def test_known_answers(xp, key, counter, result):
    block = threefry2x32(xp, words(xp, key), words(xp, counter))
    assert tuple(int(to_numpy(word)[0]) & 0xFFFFFFFF for word in block) == result
