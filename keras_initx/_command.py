"""Whether this process is the command line. Imported before Keras, which it does not need."""

import sys


def is_starting() -> bool:
    """Tell whether `python -m keras_initx` is being started.

    While Python imports the package that `-m` names, `sys.argv[0]` is "-m", and the name is in `sys.orig_argv` only.
    """
    return sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == "keras_initx"
