"""Add words to the vocabulary of a small language model, and compare what their weights start from.

`KERAS_BACKEND=jax python docs/examples/new_words.py`
"""

import argparse

import keras_initx

import keras
import numpy as np

OLD, NEW, CONTEXT, KINDS = 400, 100, 2, 20
STARTS = ("N(0, 0.02)", "mean")


def axis_of_words(array):
    """Return the first axis, or else the last."""
    return int(array.ndim > 1 and len(array) != OLD)


def small(array):
    """Return the array with small random numbers for the new words."""
    axis = axis_of_words(array)
    shape = [NEW if place == axis else length for place, length in enumerate(array.shape)]
    return np.concatenate([array, keras_initx.RandomNormal(stddev=0.02, seed=axis)(shape)], axis)


def text(words, count, draws):
    """Return contexts and next words of a text in which words follow each other by their kinds.

    Word `i` is of the kind `i % KINDS`. The frequencies of the words of a kind fall as in Zipf's
    law.
    """
    # Of the language, not of the text.
    table = np.random.default_rng(0).dirichlet(np.full(KINDS, 0.2), size=KINDS)
    kinds = [0]
    for chance in draws.uniform(size=count + CONTEXT - 1):
        kinds.append(min(int(np.searchsorted(np.cumsum(table[kinds[-1]]), chance)), KINDS - 1))
    shares = 1 / (1 + np.arange(words // KINDS))
    rank = draws.choice(words // KINDS, p=shares / shares.sum(), size=len(kinds))
    chosen = rank * KINDS + np.array(kinds)
    contexts = np.stack([chosen[start : start + count] for start in range(CONTEXT)], axis=1)
    return contexts, chosen[CONTEXT:]


def network(words):
    """Return a network that gives the logits of the next word."""
    layers = [
        keras.layers.Embedding(words, 32, name="words"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, "relu", name="hidden"),
        keras.layers.Dense(words, name="logits"),
    ]
    model = keras.Sequential([keras.Input((CONTEXT,)), *layers])
    model.compile(
        keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def grown(model, start):
    """Return a network with `NEW` more words that has the weights of `model`.

    For these words it has those of `start`.
    """
    larger = network(OLD + NEW)
    if start == "mean":
        resize = {"words/embeddings": "rows", "logits/*": "units"}
        keras_initx.load_pretrained(larger, model, resize=resize)
    else:
        rules = {
            name: (name, small) for name in ("words/embeddings", "logits/kernel", "logits/bias")
        }
        keras_initx.load_pretrained(larger, model, {**rules, "*": "{0}"})
    return larger


def share_of_new(model, contexts):
    """Return the probability of all new words together, on average."""
    logits = model.predict(contexts, batch_size=len(contexts), verbose=0)
    return float(keras.ops.convert_to_numpy(keras.ops.softmax(logits))[:, OLD:].sum(axis=1).mean())


def compare(seed, steps, examples):
    """Return the loss of the old network, and for each start four numbers, see `main`."""
    draws = np.random.default_rng(seed)
    learned, held_out, mixed, new_held_out = (
        text(words, count, draws)
        for words, count in (
            (OLD, examples),
            (OLD, 4_000),
            (OLD + NEW, 32 * steps),
            (OLD + NEW, 4_000),
        )
    )
    model = network(OLD)
    keras_initx.initialize(model, seed=seed)
    model.fit(*learned, batch_size=64, epochs=4, shuffle=False, verbose=0)

    def loss(network, data):
        return network.evaluate(*data, batch_size=4_000, verbose=0)

    rows = []
    for start in STARTS:
        larger = grown(model, start)
        before = [
            loss(larger, held_out),
            share_of_new(larger, held_out[0]),
            loss(larger, new_held_out),
        ]
        larger.fit(*mixed, batch_size=32, shuffle=False, verbose=0)
        rows.append([*before, loss(larger, new_held_out)])
    return loss(model, held_out), rows


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="number of seeds")
    parser.add_argument(
        "--examples", type=int, default=30_000, help="length of the text of the first training"
    )
    parser.add_argument(
        "--steps", type=int, default=100, help="steps of training on text with the new words"
    )
    options = parser.parse_args(arguments)
    old, rows = zip(
        *(compare(seed, options.steps, options.examples) for seed in range(options.repeats)),
        strict=True,
    )
    print(
        f"{OLD} words, loss on text {np.mean(old):.3f}; {NEW} more, means of {options.repeats} "
        "seeds"
    )
    print(
        f"{'':15}{'same text':>12}{'share of new':>15}{'new text':>11}"
        f"{f'after {options.steps} steps':>17}"
    )
    for name, (text_loss, share, new_loss, after) in zip(
        STARTS, np.mean(rows, axis=0), strict=True
    ):
        print(f"{name:15}{text_loss:12.3f}{share:15.3f}{new_loss:11.3f}{after:17.3f}")
    print(f"Bound on the rise of the loss from means: {np.log(1 + NEW / OLD):.3f}")


if __name__ == "__main__":
    main()
