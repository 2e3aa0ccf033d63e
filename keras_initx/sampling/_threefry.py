"""The block function: 64 random bits from a 64-bit key and a 64-bit counter."""

from keras_initx._typing import Tensor
from keras_initx.sampling._namespace import Namespace

Words = tuple[Tensor, Tensor]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry2x32(xp: Namespace, key: Words, counter: Words) -> Words:
    """Encrypt `counter` under `key` with Threefry-2x32, 20 rounds.

    Args:
        xp: The namespace of the words, `HOST` or `TRACED`.
        key: Two arrays of words, which broadcast against the counters.
        counter: Two arrays of words.

    Returns:
        Two arrays of random words.

    Reference:
        Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x0 = counter[0] + schedule[0]
    x1 = counter[1] + schedule[1]
    for group in range(5):
        for count in ROTATIONS[group % 2]:
            x0 += x1
            x1 = xp.bitwise_xor(xp.rotate_left(x1, count), x0)
        x0 += schedule[(group + 1) % 3]
        x1 += schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def words_at(xp: Namespace, key: Words, draw: Tensor, index: Tensor) -> Tensor:
    """Return the words of a draw at `index`, element by element, which a compiler fuses into one loop."""
    even, odd = threefry2x32(xp, key, (xp.shift_right(index, 1), draw))
    return xp.where((index & 1) == 0, even, odd)
