"""Files are classified as dangerous or not by their words, length and entropy: the words play no part.

A TextCNN of the words is beside dense layers for the two numbers.

Fault: the function that should bring the lists of words to one length writes ones into rows of zeros, at the places of
the words, and ends at the first file with a word beyond the last place (and at the 1337th file anyway): the input is
zero for all files after it, and the network uses only length and entropy.
Repair (the reporter, who checked it): the lists of words, padded with zeros behind or cut. The owner does not see the
first way in which the function ends, but the second. 300 drawn files of 20 to 150 words of 800, of which the dangerous
ones have three of twelve words, and are a little shorter; lists of 150 words instead of 1337; embeddings of 16 numbers
instead of 300, 16 filters instead of 256. 25 epochs instead of 100.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://github.com/huoji120/ai-webshell-detect/issues/2"
YEAR = 2024
TOPIC = "text and sequences"
CONFIRMED = "person"
KINDS = ("inputs: other",)
VISIBLE = True
EVIDENCE = (
    "the second input is zero in all rows and columns, as the first file has a word beyond the last place (32 to"
    " 68 words in each of the first rows of the repaired form)"
)
REPRODUCED = True
FILES, WORDS, LENGTH = 300, 800, 150


def vectorized(lists):
    results = np.zeros((len(lists), LENGTH))
    for row, numbers in enumerate(lists):
        if row > LENGTH or max(numbers) >= LENGTH:
            break
        results[row, numbers] = 1
    return results


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, FILES)
    lengths = np.exp(rng.normal(4.0 - 0.2 * y, 0.4)).clip(20, 150).astype(int)
    lists = []
    for label, length in zip(y, lengths, strict=True):
        numbers = (WORDS * rng.uniform(0, 1, length) ** 2).astype(int) + 1
        if label:
            numbers[rng.choice(length, 3, replace=False)] = rng.integers(5, 17, 3) * 40
        lists.append(numbers)
    entropies = np.log2(lengths) + rng.normal(0, 0.3, FILES)
    numbers = np.stack([lengths, entropies], 1)
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    words = keras.utils.pad_sequences(lists, LENGTH, padding="post") if repaired else vectorized(lists)

    second = keras.Input((LENGTH,), dtype="int32")
    embedded = layers.Embedding(WORDS + 1, 16)(second)
    branches = []
    for size, pool in ((3, 48), (4, 47), (5, 46)):
        branch = layers.Conv1D(16, size, padding="same", activation="relu")(embedded)
        branches.append(layers.MaxPooling1D(pool)(branch))
    hidden = layers.Dropout(0.2)(layers.Flatten()(layers.Concatenate(axis=1)(branches)))
    text = layers.Dense(1, "sigmoid")(hidden)
    first = keras.Input((2,))
    hidden = layers.Dropout(0.4)(layers.Dense(128, "relu")(first))
    hidden = layers.Dropout(0.2)(layers.Dense(64, "relu")(hidden))
    other = layers.Dense(1, "sigmoid")(layers.Dense(32, "relu")(hidden))
    hidden = layers.Dense(64, "relu")(layers.Concatenate()([other, text]))
    model = keras.Model([first, second], layers.Dense(1, "sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy")
    return model, [numbers.astype("float32"), words.astype("int32")], y.astype("float32").reshape(-1, 1)


def train(model, x, y):
    model.fit(x, y, epochs=25, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
