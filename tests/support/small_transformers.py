"""The sizes of small models of transformers and of KerasHub, and the names that lead from one to the other."""

import pathlib
import re

import numpy as np

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "save_pretrained.md"
WIDTH, WORDS = 32, 50
OF_TRANSFORMERS = {"vocab_size": WORDS, "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
OF_KERAS_HUB = {"vocabulary_size": WORDS, "num_layers": 2, "hidden_dim": WIDTH}
TOKENS = np.random.default_rng(0).integers(1, WORDS, (2, 6))


def names_of(model):
    """Return the names on the page."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [one for one in blocks if f"\n{model} = {{" in one]
    found = {"np": np}
    exec(block.replace("width = 768", f"width = {WIDTH}").replace('embedding", 12', 'embedding", 2'), found)
    return found[model]
