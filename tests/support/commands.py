"""What commands end with."""

import pytest

from keras_initx.cli import _main as cli


def refused(capsys, *arguments):
    """Return the error that the command ends with."""
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    return capsys.readouterr().err
