"""A report says of a port what reviewers ask, and names what is wrong with it."""

import copy
import json
import random

import keras
import numpy as np
import pytest
from keras import layers
from modes import needs_keras, to_numpy

import keras_initx
from keras_initx.tools.port_report import _report

torch = pytest.importorskip("torch")
nn = torch.nn

rare = pytest.mark.rare
WORDS, WIDTH, CLASSES = 20, 8, 5
NAMES = {
    "words": "words",
    "query": "query",
    "key": "key",
    "norm": "norm",
    "inner": "inner",
    "batch_norm": "batch_norm",
    "head": "head",
}
TOKENS = np.random.default_rng(0).integers(0, WORDS, (6, 4))


class Attending(nn.Module):
    """Attention with one head, and a layer behind it."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.gelu = nn.GELU()
        self.dropout = nn.Dropout(0.1)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens):
        x = self.words(tokens)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / WIDTH**0.5
        x = self.norm(x + scores.softmax(-1) @ x)
        x = self.dropout(self.gelu(self.inner(x)))
        return self.head(self.batch_norm(x.mean(1)))


def module():
    """Return a module whose weights are all drawn."""
    generator = torch.Generator().manual_seed(0)
    made = Attending()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.empty_like(value).uniform_(0.5, 1.5, generator=generator))
                if "norm" not in name:
                    value.sub_(1)
    return made


class Attention(layers.Layer):
    """Attention with one head, and a scale and a residual branch that a port may forget."""

    def __init__(self, scale=WIDTH**-0.5, residual=1.0, **kwargs):
        super().__init__(**kwargs)
        self._scale, self._residual = scale, residual

    def call(self, x, query, key):
        scores = keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1))) * self._scale
        return self._residual * x + keras.ops.matmul(keras.ops.softmax(scores), x)


def port(epsilon=1e-5, gelu_by_tanh=False, rate=0.1, momentum=0.9, **options):
    """Return the port, with settings that may be wrong."""
    tokens = keras.Input((4,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH, name="words")(tokens)
    query = layers.Dense(WIDTH, name="query")(x)
    key = layers.Dense(WIDTH, name="key")(x)
    x = Attention(**options, name="attention")(x, query, key)
    x = layers.LayerNormalization(epsilon=epsilon, name="norm")(x)
    x = layers.Dense(WIDTH, name="inner")(x)
    x = keras.ops.gelu(x, approximate=gelu_by_tanh)
    x = layers.Dropout(rate, name="dropout")(x)
    x = keras.ops.mean(x, axis=1)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=momentum, name="batch_norm")(x)
    return keras.Model(tokens, layers.Dense(CLASSES, name="head")(x), name="port")


def loaded(model, source, names=None):
    """Return a model with the weights of a module."""
    keras_initx.load_pretrained(model, source.state_dict(), names or NAMES, layout="torch")
    return model


def report_on(model, source, **options):
    tokens = {"model": TOKENS, "module": torch.as_tensor(TOKENS)}
    return keras_initx.port_report(model, source, tokens, names=NAMES, **options)


@pytest.fixture(scope="module")
def equal():
    """Return the report on a port that is right."""
    source = module()
    return report_on(loaded(port(), source), source)


def test_a_port_that_is_right_is_equal(equal):
    assert equal.ok
    assert equal.summary == "The port is equal: weights, outputs."
    assert equal.to_markdown().splitlines()[0] == f"**{equal.summary}**"
    assert str(equal).splitlines()[0] == equal.summary


def test_the_text_of_a_right_port_is_short(equal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = str(equal).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 80
    # What it leaves out is counted, and in the Markdown.
    rest = " ".join(lines[-2:])
    assert rest == ("Not compared: 4 calls, 2 calls of the module, some settings, see   `report.to_markdown()`.")
    text = equal.to_markdown()
    assert "- Not compared, no counterpart: attention, gelu, dropout, mean." in text
    assert "- Not compared, only in the other model: gelu, dropout." in text
    assert "- Settings not compared: settings that are not known: Attention." in text


def test_the_text_of_a_wrong_port_says_where_to_look():
    source = module()
    text = str(report_on(loaded(port(epsilon=1e-3), source), source))
    assert "beginning with norm (epsilon:" in text
    assert "First difference: norm: inputs differ by " in text
    assert "It arises in norm, whose inputs are equal." in text
    assert "layer  like" not in text  # no table of calls


def test_both_sides_are_counted_by_kind(equal):
    counts = {count.kind: (count.model, count.module) for count in equal.weights.counts}
    parameters = WORDS * WIDTH + 3 * (WIDTH + 1) * WIDTH + 4 * WIDTH + (WIDTH + 1) * CLASSES
    assert counts["trained parameters"] == (parameters, parameters)
    assert counts["statistics and buffers"] == (2 * WIDTH, 2 * WIDTH)
    assert counts["counters"] == (0, 1)
    assert f"| trained parameters | {parameters} | {parameters} |" in equal.to_markdown()
    # The counter of the normalization is no array that a weight lacks.
    assert equal.weights.unused == {}


def test_numbers_are_those_that_reviewers_compare_with(equal):
    (agreement,) = equal.agreements
    assert agreement.largest_difference < 1e-5
    assert equal["largest difference"].text.endswith("below 1e-4.")
    assert equal["loss and gradients"].status == "not compared"


def test_both_sides_say_what_has_computed_them(equal):
    assert equal.model.environment.versions["keras"] == keras.__version__
    assert equal.module.environment.versions == {"torch": torch.__version__}
    assert equal.module.environment.devices == ("cpu",)
    text = equal.to_markdown()
    assert f"torch {torch.__version__}" in text
    assert "| devices | cpu" in text


def test_json_has_everything(equal):
    content = json.loads(equal.to_json())
    assert content["ok"] is True
    assert content["summary"] == equal.summary
    assert [row["path"] for row in content["rows"]][:2] == ["weights", "outputs"]
    assert {row["path"] for row in content["weights"]} == {row.path for row in equal.weights.rows}
    assert content["outputs"]["rows"][-1]["is_model"]
    assert content["sides"]["module"]["versions"]["torch"] == torch.__version__


def transpose(model):
    kernel = model.get_layer("inner").kernel
    kernel.assign(to_numpy(kernel).T.copy())


def exchange(model):
    query, key = model.get_layer("query"), model.get_layer("key")
    values = query.get_weights()
    query.set_weights(key.get_weights())
    key.set_weights(values)


def forget_bias(model):
    model.get_layer("inner").bias.assign(np.zeros(WIDTH))


def scale_words(model):
    words = model.get_layer("words").embeddings
    words.assign(to_numpy(words) * WIDTH**0.5)


def reverse_rows(model):
    kernel = model.get_layer("head").kernel
    kernel.assign(to_numpy(kernel)[::-1].copy())


# What is wrong with a port, and what the first line of its report says.
FAULTY_WEIGHTS = [
    pytest.param(transpose, "inner/kernel differs by", "its transpose is equal"),
    pytest.param(exchange, "query/kernel differs by", "it has the values of key.weight", marks=rare),
    pytest.param(forget_bias, "inner/bias differs by", "it is all zero", marks=rare),
    pytest.param(scale_words, "words/embeddings differs by", "it is 2.828 times as large", marks=rare),
    pytest.param(reverse_rows, "head/kernel differs by", "it has the same values in another order", marks=rare),
]


@pytest.mark.parametrize(("plant", "weight", "cause"), FAULTY_WEIGHTS)
def test_a_weight_with_other_values_is_named_with_the_cause(plant, weight, cause):
    source = module()
    model = loaded(port(), source)
    plant(model)
    report = report_on(model, source)
    first, *_ = report.to_markdown().splitlines()
    assert "**The port differs: " in first
    assert f"first {weight}" in first
    assert cause in first
    assert report["outputs"].status == "differs"
    assert not report.ok


# Arguments of a port that is wrong, and what its report says.
FAULTY_CODE = [
    pytest.param({"epsilon": 1e-3}, "beginning with norm (epsilon: 0.001 here, 1e-05 there)"),
    pytest.param({"gelu_by_tanh": True}, "GELU", marks=rare),
    pytest.param({"scale": 1.0}, "beginning with norm", marks=rare),
    pytest.param({"residual": 0.0}, "beginning with norm", marks=rare),
]


@pytest.mark.parametrize(("options", "said"), FAULTY_CODE)
def test_code_that_computes_something_else_is_named_with_the_layer(options, said):
    source = module()
    report = report_on(loaded(port(**options), source), source)
    first, *_ = report.to_markdown().splitlines()
    assert first.startswith("**The port differs: the outputs of ")
    assert said in first.replace("\\", "")
    assert report["weights"].status == "equal"
    if "scale" in options or "residual" in options:
        place = "It arises between query, key (equal) and norm (its inputs differ): in attention here."
        assert place in report.to_markdown()
        assert place in " ".join(str(report).split())


@rare
@pytest.mark.parametrize(
    ("options", "setting"),
    [
        ({"rate": 0.5}, "rate: 0.5 here, 0.1 there (dropout)"),
        ({"momentum": 0.99}, "momentum: 0.99 here, 0.9 there (batch_norm)"),
    ],
)
def test_a_setting_that_this_batch_does_not_show_is_named(options, setting):
    source = module()
    report = keras_initx.port_report(
        loaded(port(**options), source),
        source,
        {"model": TOKENS, "module": torch.as_tensor(TOKENS)},
        names={**NAMES, "dropout": "dropout"},
    )
    assert report.ok
    assert setting in report.summary
    assert setting in report.to_markdown().replace("\\", "")


@rare
def test_a_weight_without_an_array_is_named_first():
    source = module()
    names = {path: name for path, name in NAMES.items() if path != "inner"}
    report = keras_initx.port_report(
        loaded(port(), source), source, {"model": TOKENS, "module": torch.as_tensor(TOKENS)}, names=names
    )
    text = report.to_markdown()
    assert "The port differs: 2 weights not loaded, first inner/kernel (not in names)" in text
    assert "Arrays of the module for no weight: inner.weight (8, 8), inner.bias (8,)" in text
    # What is left out on purpose is none.
    report = keras_initx.port_report(
        loaded(port(), source),
        source,
        {"model": TOKENS, "module": torch.as_tensor(TOKENS)},
        names={**NAMES, "inner": None},
    )
    assert report.ok
    assert "Left out, None in names: inner/kernel, inner/bias" in report.to_markdown()


@rare
def test_inputs_that_are_not_the_same_are_named():
    source = module()
    tokens = {"model": TOKENS, "module": torch.as_tensor(TOKENS[:, ::-1].copy())}
    report = keras_initx.port_report(loaded(port(), source), source, tokens, names=NAMES)
    assert "the inputs of the models differ by" in report.to_markdown().splitlines()[0]


def draw_a_number(part, inputs, outputs):
    part.count += torch.rand(1)


@needs_keras("3.13", "sets the seed of the generator that layers share")
def test_nothing_changes():
    source = module().train()
    source.head.eval()
    source.register_buffer("count", torch.zeros(1))
    source.register_forward_hook(draw_a_number)
    model = loaded(port(), source)
    state = copy.deepcopy(source.state_dict())
    modes = [part.training for part in source.modules()]
    weights = model.get_weights()
    keras.utils.set_random_seed(0)
    expected = random.random(), float(torch.rand(1)), float(keras.random.uniform(()))
    keras.utils.set_random_seed(0)
    assert report_on(model, source).ok
    assert (random.random(), float(torch.rand(1)), float(keras.random.uniform(()))) == expected
    assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())
    assert [part.training for part in source.modules()] == modes
    assert all(parameter.grad is None for parameter in source.parameters())
    assert len(source._forward_hooks) == 1
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@rare
def test_a_load_with_a_report_needs_no_names():
    source = module()
    model = port()
    report = keras_initx.load_pretrained(model, source.state_dict(), NAMES, layout="torch")
    tokens = {"model": TOKENS, "module": torch.as_tensor(TOKENS)}
    assert keras_initx.port_report(model, source, tokens, loaded=report).ok
    with pytest.raises(ValueError, match=r"Pass either `loaded`, which has names and layout"):
        keras_initx.port_report(model, source, tokens, loaded=report, names=NAMES)
    with pytest.raises(TypeError, match=r"`loaded` must be the report of `load_pretrained`"):
        keras_initx.port_report(model, source, tokens, loaded=NAMES)
    with pytest.raises(TypeError, match=r"`module` must be a `torch\.nn\.Module`\. Received: module of type Func"):
        keras_initx.port_report(model, model, tokens)
    with pytest.raises(ValueError, match=r"`loss` needs targets: pass `y`"):
        keras_initx.port_report(model, source, tokens, names=NAMES, loss=torch.nn.MSELoss())


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = torch.nn.LSTM(8, 6, 2, batch_first=True), torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


@pytest.mark.parametrize("first", [0, 1])
def test_names_may_be_those_that_a_user_has_given(first):
    x = np.random.default_rng(0).normal(size=(4, 5, 8)).astype("float32")
    given = [f"lstm_{first}", f"lstm_{first + 1}"]
    recurrent = [keras.layers.LSTM(6, return_sequences=True, name=name) for name in given]
    model = keras.Sequential([keras.Input((5, 8)), *recurrent, keras.layers.Dense(3, name="head")])
    source = Tagger()
    # Reports renumber them, as automatic names: `lstm` and `lstm_1`.
    names = {"head": "head", **dict.fromkeys(given, "lstm")}
    loaded = keras_initx.load_pretrained(model, source.state_dict(), names, layout="torch")
    for options in ({"loaded": loaded}, {"names": names}):
        report = keras_initx.port_report(model, source, {"model": x, "module": torch.as_tensor(x)}, **options)
        assert report.summary == "The port is equal: weights, outputs."
    with pytest.raises(ValueError, match=r"Each of `names` must match .* Received: 'lstm_7', which matches none"):
        keras_initx.port_report(model, source, x, names={**names, "lstm_7": "lstm"})


@rare
def test_a_resized_weight_is_not_compared():
    source = torch.nn.Sequential(torch.nn.Embedding(6, 3))
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(8, 3, name="words")])
    options = {"names": {"words": "0"}, "layout": "torch", "resize": {"words": "rows"}}
    report = keras_initx.load_pretrained(model, source.state_dict(), **options)
    tokens = {"model": TOKENS % 6, "module": torch.as_tensor(TOKENS % 6)}
    report = keras_initx.port_report(model, source, tokens, loaded=report)
    assert report.weights.rows[0].status == "not compared"
    assert report.summary.startswith("The port is not known to be equal: 1 weight not compared, first words/embeddings")


def test_markdown_that_is_too_long_for_a_pull_request_leaves_tables_out(equal, monkeypatch):
    assert f"<summary>{len(equal.weights.rows)} weights</summary>" in equal.to_markdown()
    monkeypatch.setattr(_report, "_MOST_CHARACTERS", 1500)
    assert "weights</summary>" not in equal.to_markdown()
    assert "calls</summary>" not in equal.to_markdown()
    assert "All weights and calls are in the JSON of the report" in equal.to_markdown()


def test_in_16_bits_weights_are_compared_as_they_are_rounded():
    source = module()
    keras.config.set_dtype_policy("bfloat16")
    try:
        model = loaded(port(), source)
    finally:
        keras.config.set_dtype_policy("float32")
    weights = keras_initx.port_report(
        model,
        source.bfloat16(),
        {"model": TOKENS, "module": torch.as_tensor(TOKENS)},
        names=NAMES,
    ).weights
    assert {row.status for row in weights.rows} == {"equal"}
    assert keras.backend.standardize_dtype(model.weights[0].dtype) == "bfloat16"


def test_where_only_names_are_missing_the_report_has_those_to_pass():
    source = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    hidden = keras.layers.Dense(3, "relu", name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2, name="out")])
    names = {"hidden": "0", "out": "2"}
    keras_initx.load_pretrained(model, source, names)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    report = keras_initx.port_report(model, source, x)
    assert f"if their order is the same, pass names={names}" in report.summary
    assert keras_initx.port_report(model, source, x, names=names).ok
