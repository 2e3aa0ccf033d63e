"""Start processes that meet at a port, and read what they print."""

import json
import os
import pathlib
import socket
import subprocess
import sys


def start(script, count, devices, *arguments):
    """Start `count` processes of a script of this folder, with so many devices each on JAX.

    Their arguments are their rank, the port at which they meet, and `arguments`.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    path = pathlib.Path(__file__).with_name(script)
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    processes = []
    for rank in range(count):
        command = [sys.executable, path, str(rank), port, *arguments]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    return processes


def report(printed):
    """Return what a process has found: the rest of what it has printed is of gloo."""
    (line,) = [line for line in printed.splitlines() if line.startswith("{")]
    return json.loads(line)


def reports(processes):
    """Return what each process finds, when all have come to their end."""
    printed = [process.communicate() for process in processes]
    for process, (_, error) in zip(processes, printed, strict=True):
        assert process.returncode == 0, error[-3000:]
    return [report(out) for out, _ in printed]
