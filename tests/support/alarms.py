"""Diagnose the healthy networks with weights from many seeds, and count errors and warnings.

`KERAS_BACKEND=jax python tests/support/alarms.py 5` takes 5 seeds instead of 20.
"""

import sys

import architectures
import confusion
import keras

import keras_initx


def main():
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    networks = confusion.HEALTHY | architectures.HEALTHY
    alarms = 0
    for name, build in networks.items():
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            model, x, y, loss = build()
            problems = keras_initx.diagnose(model, x, y, loss=loss).problems
            if problems:
                alarms += 1
                print(f"{name}, seed {seed}: {[verdict.problem for verdict in problems]}", flush=True)
        keras.utils.clear_session(free_memory=True)
    print(f"{keras.backend.backend()}: {alarms} alarms in {len(networks) * seeds} runs, {len(networks)} networks")


if __name__ == "__main__":
    main()
