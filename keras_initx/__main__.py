"""Run the command line: `python -m keras_initx`."""

import sys

from keras_initx.cli._main import main

if __name__ == "__main__":
    sys.exit(main())
