"""`initx demo` as its users run it: what both networks learn, and what Ctrl-C leaves."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [sys.executable, "-m", "keras_initx", "demo"]
# With all optimizations of JAX, without which the last bits are others, and after hundreds of steps the accuracy.
OPTIMIZED = {name: value for name, value in os.environ.items() if name != "JAX_DISABLE_MOST_OPTIMIZATIONS"}


@pytest.mark.every_backend
def test_the_default_weights_guess_and_those_of_the_remedy_learn():
    output = subprocess.run(COMMAND, env=OPTIMIZED, capture_output=True, text=True, check=True).stdout
    default, remedied = (
        float(text) for text in re.findall(r"(?:weights|initialize) +(0\.\d\d)$", output, re.MULTILINE)
    )
    assert default == pytest.approx(0.1, abs=0.02)
    assert remedied == pytest.approx(0.8, abs=0.1)


# Only on torch: JAX may drop an interrupt, and TensorFlow may turn it into another error.
@pytest.mark.skipif(sys.platform == "win32", reason="a process is interrupted otherwise there")
@pytest.mark.parametrize("heading", ["1.", "4."])
def test_an_interrupt_ends_it_with_one_line(heading):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(COMMAND, env=environment, **pipes) as process:
        for line in process.stdout:
            if line.startswith(heading):
                break
        time.sleep(1)  # into what the heading names
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "python -m keras_initx: interrupted"
    assert "Traceback" not in errors
