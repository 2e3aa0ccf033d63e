"""`Orthogonal` with a fixed method."""

from keras_initx._typing import Axes, Gain, Seed
from keras_initx.initializers._base import register
from keras_initx.initializers._orthogonal import Orthogonal, SingularValues


@register(
    "orthogonal_qr",
    formula="gain · Q, G = QR for a Gaussian G; with singular_values s, gain · U diag(s) V'",
    use="when a QR factorization is required; Orthogonal has the same distribution and is faster",
)
class OrthogonalQR(Orthogonal):
    """Draw a random orthogonal matrix by QR factorization, times `gain`.

    Same as `Orthogonal` with `method="qr"`: the factor `Q` of a Gaussian matrix, with signs chosen
    so that the diagonal of `R` is positive. The default method of `Orthogonal` has the same
    distribution and is faster; for the same seed the two give different matrices.

    Args:
        gain: See `Orthogonal`.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        blocks: See `Orthogonal`.
        singular_values: See `Orthogonal`.
        input_axes: See `Orthogonal`.
        output_axes: See `Orthogonal`.

    Raises:
        TypeError: See `Orthogonal`.
        ValueError: See `Orthogonal`.

    Example:
        >>> matrix = OrthogonalQR(seed=0)((64, 32))
        >>> gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        >>> bool(keras.ops.max(keras.ops.abs(gram - keras.ops.eye(32))) < 1e-5)
        True
        >>> layer = keras.layers.SimpleRNN(64, recurrent_initializer="initx.orthogonal_qr")

    Reference:
        Mezzadri, "How to generate random matrices from the classical compact groups", Notices of
        the AMS 54 (2007).
    """

    def __init__(
        self,
        gain: Gain = 1.0,
        *,
        seed: Seed = None,
        blocks: int = 1,
        singular_values: SingularValues = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(
            gain,
            seed,
            method="qr",
            blocks=blocks,
            singular_values=singular_values,
            input_axes=input_axes,
            output_axes=output_axes,
        )
