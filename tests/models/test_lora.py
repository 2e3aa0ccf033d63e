"""The factors of LoRA start from numbers or from the kernel, and the outputs of the model stay the same."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import RandomNormal, initialize, initialize_lora, load_pretrained
from keras_initx.models import seeds, weights_digest
from keras_initx.structure import find_weights

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 8, 8, 2)).astype("float32")
WORDS = RNG.integers(0, 40, size=(4, 6))
LAYERS = {
    "dense": lambda: layers.Dense(12, name="own"),
    "conv1d": lambda: layers.Conv1D(8, 3, name="own"),
    "einsum": lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 5), name="own"),
    "groups": lambda: layers.Conv1D(8, 3, groups=2, name="own"),
}
METHODS = ["gaussian", "pissa"]
FACTOR = [-0.26758, 0.656061, -0.08805]


def images(alpha=None, rank=3, dtype=None):
    """Return a model of each kind of layer that takes LoRA, with it, and its outputs before."""
    parts = [
        layers.Conv2D(6, 3, name="conv", dtype=dtype),
        layers.Flatten(),
        layers.Dense(12, name="dense", dtype=dtype),
        layers.Reshape((3, 4)),
        layers.EinsumDense("abc,cde->abde", (None, 2, 5), name="einsum", dtype=dtype),
    ]
    model = keras.Sequential([keras.Input((8, 8, 2)), *parts])
    initialize(model, seed=0)
    before = outputs(model)
    for layer in parts[::2] if rank else []:
        layer.enable_lora(rank, lora_alpha=alpha)
    return model, before


def words(rank=2):
    model = keras.Sequential([keras.Input((6,)), layers.Embedding(40, 8, name="words")])
    initialize(model, seed=0)
    if rank:
        model.layers[0].enable_lora(rank)
    return model


def outputs(model, x=IMAGES):
    return to_numpy(keras.ops.cast(model(x), "float32"))


def weight(layer, name):
    return to_numpy(next(variable for variable in layer.weights if variable.name == name))


def train(model, x=IMAGES):
    """Give the second factors values, as training does."""
    for variable in model.trainable_variables:
        if variable.name.endswith("_b"):
            variable.assign(RNG.normal(size=variable.shape))
    return outputs(model, x)


@pytest.mark.parametrize("alpha", [None, pytest.param(12, marks=pytest.mark.once)])
@pytest.mark.parametrize("method", [pytest.param("gaussian", marks=pytest.mark.once), "pissa"])
def test_the_outputs_stay(method, alpha):
    model, before = images(alpha)
    initialize_lora(model, method, seed=1)
    np.testing.assert_allclose(outputs(model), before, rtol=1e-5, atol=1e-5 if method == "pissa" else 0)


@pytest.mark.parametrize("method", METHODS)
def test_what_was_trained_is_kept(method):
    model, _ = images(alpha=6)
    trained = train(model)
    plan = initialize_lora(model, method, seed=1)
    names = ["kernel", "lora_kernel_a", "lora_kernel_b"]
    if method == "pissa":
        names = [*names[1:], "kernel"]
    assert [row.path for row in plan.rows] == [
        f"{layer}/{name}" for layer in ("conv", "dense", "einsum") for name in names
    ]
    assert (plan.seed, plan.dry_run) == (1, False)
    np.testing.assert_allclose(outputs(model), trained, rtol=1e-4, atol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS)
def test_embeddings_too(method):
    model = words()
    trained = train(model, WORDS)
    initialize_lora(model, method, seed=1)
    np.testing.assert_allclose(outputs(model, WORDS), trained, rtol=1e-5, atol=1e-5)
    (embedding,) = model.layers
    assert weight(embedding, "lora_embeddings_a").any()


def test_gaussian_factors_have_their_size_and_a_seed_each():
    model, _ = images()
    kernel = weight(model.get_layer("dense"), "kernel")
    plan = initialize_lora(model, "gaussian", seed=5)
    of_path = {row.path: row for row in plan.rows}
    assert list(of_path) == [f"{name}/lora_kernel_{factor}" for name in ("conv", "dense", "einsum") for factor in "ab"]
    factor = weight(model.get_layer("dense"), "lora_kernel_a")
    normal = RandomNormal(stddev=1 / 3, seed=seeds(5)("dense/lora_kernel_a"))
    np.testing.assert_array_equal(factor, to_numpy(normal(factor.shape)))
    assert of_path["dense/lora_kernel_a"].after == pytest.approx(factor.std())
    assert factor.std() == pytest.approx(1 / 3, rel=0.05)
    assert not weight(model.get_layer("dense"), "lora_kernel_b").any()
    np.testing.assert_array_equal(weight(model.get_layer("dense"), "kernel"), kernel)


def test_gaussian_factors_have_the_same_bits_everywhere():
    model, _ = images()
    initialize_lora(model, "gaussian", seed=3)
    assert weights_digest(model) == "64d44a49fb201edfe592e8b543d4d97d"


@pytest.mark.parametrize(
    "alpha", [None, pytest.param(12, marks=pytest.mark.once), pytest.param(-6, marks=pytest.mark.once)]
)
def test_principal_factors_are_those_of_the_kernel(alpha):
    model, _ = images(alpha)
    dense = model.get_layer("dense")
    kernel = weight(dense, "kernel").astype("float64")
    initialize_lora(model, "pissa")
    scale = (alpha or 3) / 3
    left, singular, right = np.linalg.svd(kernel, full_matrices=False)
    a, b = weight(dense, "lora_kernel_a"), weight(dense, "lora_kernel_b")
    np.testing.assert_allclose(scale * a @ b, left[:, :3] * singular[:3] @ right[:3], atol=1e-5)
    np.testing.assert_allclose((a**2).sum(axis=0), singular[:3] / abs(scale), rtol=1e-4)
    np.testing.assert_allclose((b**2).sum(axis=1), singular[:3] / abs(scale), rtol=1e-4)
    rest = np.linalg.svd(weight(dense, "kernel"), compute_uv=False)
    np.testing.assert_allclose(rest[:-3], singular[3:], rtol=1e-4)
    assert (np.take_along_axis(a, abs(a).argmax(axis=0)[None], axis=0) > 0).all()


def test_principal_factors_agree_between_backends():
    model, _ = images()
    initialize_lora(model, "pissa")
    factor = weight(model.get_layer("einsum"), "lora_kernel_a")
    assert factor.shape == (4, 2, 3)
    np.testing.assert_allclose(factor[0, 0], FACTOR, atol=1e-5)


@pytest.mark.once
def test_of_a_large_kernel_the_principal_part_is_found_without_the_rest(monkeypatch):
    exact, shapes = np.linalg.svd, []
    monkeypatch.setattr(
        np.linalg, "svd", lambda matrix, **options: shapes.append(matrix.shape) or exact(matrix, **options)
    )
    bases = [np.linalg.qr(RNG.normal(size=(length, 6)))[0] for length in (1030, 1040)]
    singular = np.array([9, 7, 5, 3, 0.9, 0.8])
    dense = layers.Dense(1040, use_bias=False)
    dense.build((None, 1030))
    dense.kernel.assign(bases[0] * singular @ bases[1].T)
    dense.enable_lora(4)
    initialize_lora(dense, "pissa")
    principal = weight(dense, "lora_kernel_a") @ weight(dense, "lora_kernel_b")
    np.testing.assert_allclose(principal, bases[0][:, :4] * singular[:4] @ bases[1][:, :4].T, atol=1e-5)
    rest = weight(dense, "kernel")
    np.testing.assert_allclose(rest, bases[0][:, 4:] * singular[4:] @ bases[1][:, 4:].T, atol=1e-5)
    assert shapes == [(18, 1040)]


@pytest.mark.once
def test_random_numbers_have_nearly_the_best_principal_part():
    """As the documentation says of another size: their singular values hardly differ."""
    dense = layers.Dense(1040, use_bias=False)
    dense.build((None, 1030))
    kernel = RNG.normal(size=(1030, 1040)).astype("float32")
    dense.kernel.assign(kernel)
    dense.enable_lora(16)
    initialize_lora(dense, "pissa")
    principal = weight(dense, "lora_kernel_a").astype("float64") @ weight(dense, "lora_kernel_b")
    best = np.linalg.eigvalsh(kernel.astype("float64") @ kernel.T)[-16:].sum()
    assert 0.97 < (principal**2).sum() / best < 1
    np.testing.assert_allclose(principal + weight(dense, "kernel"), kernel, atol=1e-5)


@pytest.mark.once
def test_small_singular_values_count():
    model, _ = images()
    dense = model.get_layer("dense")
    left, _, right = np.linalg.svd(weight(dense, "kernel"), full_matrices=False)
    singular = np.geomspace(1, 1e-5, 3)
    next(variable for variable in dense.weights if variable.name == "kernel").assign(left[:, :3] * singular @ right[:3])
    before = outputs(model)
    initialize_lora(model, "pissa")
    np.testing.assert_allclose(outputs(model), before, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((weight(dense, "lora_kernel_b") ** 2).sum(axis=1), singular, rtol=0.05)


@pytest.mark.once
def test_factors_may_have_the_rank_of_the_kernel():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, name="dense")])
    x = RNG.normal(size=(4, 5)).astype("float32")
    before = outputs(model, x)
    model.layers[0].enable_lora(3)
    initialize_lora(model, "pissa")
    np.testing.assert_allclose(outputs(model, x), before, atol=1e-5)
    np.testing.assert_allclose(weight(model.layers[0], "kernel"), 0, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize("alpha", [0, np.nan])
def test_gaussian_factors_need_no_factor_of_the_layer(alpha):
    model, _ = images(alpha)
    kernel = weight(model.get_layer("dense"), "kernel")
    initialize_lora(model, "gaussian", seed=0)
    assert weight(model.get_layer("dense"), "lora_kernel_a").any()
    np.testing.assert_array_equal(weight(model.get_layer("dense"), "kernel"), kernel)


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_changes_nothing(method):
    model, _ = images()
    train(model)
    before = [to_numpy(variable) for variable in model.weights]
    planned = initialize_lora(model, method, seed=0, dry_run=True)
    for variable, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), values)
    done = initialize_lora(model, method, seed=0)
    assert [(row.path, row.how) for row in planned.rows] == [(row.path, row.how) for row in done.rows]


@pytest.mark.once
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_by_itself(name, method):
    layer = LAYERS[name]()
    x = RNG.normal(size=(2, 7, 6)).astype("float32")
    before = to_numpy(layer(x))
    layer.enable_lora(2)
    plan = initialize_lora(layer, method, seed=0)
    assert {row.path for row in plan.rows} >= {"lora_kernel_a", "lora_kernel_b"}
    np.testing.assert_allclose(to_numpy(layer(x)), before, rtol=1e-4, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_other_dtypes(dtype):
    model, before = images(dtype=dtype)
    plan = initialize_lora(model, "pissa")
    of_weights = {weight.path: weight.dtype for weight in find_weights(model)}
    assert {row.path: row.dtype for row in plan.rows} == {row.path: of_weights[row.path] for row in plan.rows}
    np.testing.assert_allclose(outputs(model), before, atol=0.1)
    assert not np.array_equal(weight(model.get_layer("dense"), "lora_kernel_a"), 0)


def test_a_model_from_a_file_trains_again(tmp_path):
    model, _ = images()
    trained = train(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not any(to_numpy(v).any() for v in loaded.trainable_variables if "lora" in v.name)  # Keras' doing
    initialize_lora(loaded, "gaussian", seed=0)
    np.testing.assert_allclose(outputs(loaded), trained, rtol=1e-4, atol=1e-4)
    factors = [to_numpy(v) for v in loaded.trainable_variables if v.name.endswith("_a")]
    assert len(factors) == 3
    assert all(factor.any() for factor in factors)


@pytest.mark.once
@pytest.mark.parametrize("stop", range(1, 10))
def test_an_interruption_changes_nothing(stop, monkeypatch):
    model, _ = images()
    before = [to_numpy(weight) for weight in model.weights]
    made, assign = [], keras.Variable.assign

    def interrupted(variable, value):
        made.append(variable)
        if len(made) == stop:
            raise KeyboardInterrupt
        return assign(variable, value)

    monkeypatch.setattr(keras.Variable, "assign", interrupted)
    with pytest.raises(KeyboardInterrupt):
        initialize_lora(model, "pissa")
    for value, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), value)


def quantized():
    model, _ = images()
    model.get_layer("dense").quantize("int8")
    return model


def with_kernel(change, *, factors="start", **options):
    """Return the model with another kernel of its second layer of three, and maybe trained factors."""
    model, _ = images(**options)
    if factors == "trained":
        train(model)
    variable = next(weight for weight in model.get_layer("dense").weights if weight.name == "kernel")
    variable.assign(change(weight(model.get_layer("dense"), "kernel").astype("float32")))
    return model


def put(value):
    """Return a function that puts a value into a kernel."""

    def change(kernel):
        kernel[3, 2] = value
        return kernel

    return change


def with_factor(value):
    model, _ = images()
    model.get_layer("dense").lora_kernel_a.assign(np.full((216, 3), value))
    return model


PISSA = {"method": "pissa"}


def of_rank_1(kernel):
    return np.outer(kernel[:, 0], kernel[0])


class OwnFactors(layers.Dense):
    """Has weights with the names of LoRA, without Keras' `enable_lora`."""

    def build(self, shape):
        super().build(shape)
        self.a = self.add_weight((shape[-1], 2), name="lora_kernel_a")


def own_factors():
    return keras.Sequential([keras.Input((4,)), OwnFactors(2)], name="own")


def without_lora():
    return keras.Sequential([keras.Input((4,)), layers.Dense(2)], name="plain")


@pytest.mark.once
@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        (lambda: images()[0], {"method": "olora"}, ValueError, r"`method` must be one of \('gaussian', 'pissa'\)"),
        (lambda: images()[0], {"seed": -1}, ValueError, "`seed` must be"),
        (lambda: 3, {}, TypeError, "`model` must be a Keras model or layer"),
        (lambda: keras.Sequential([layers.Dense(2)]), {}, ValueError, "`model` must be built.*the model '"),
        (without_lora, {}, ValueError, "`model` must have layers with LoRA.*model='plain' with none"),
        (own_factors, {}, ValueError, "`model` must have layers with LoRA.*model='own' with none"),
        (quantized, {}, ValueError, r"none of them quantized.*with \['dense/lora_kernel_a'\]"),
        (lambda: with_kernel(np.zeros_like), PISSA, ValueError, "'gaussian'.*3. Received.*'dense/kernel' of rank 0"),
        (lambda: with_kernel(of_rank_1), PISSA, ValueError, "'gaussian'.*3. Received.*'dense/kernel' of rank 1"),
        (lambda: images(rank=6)[0], PISSA, ValueError, "'einsum/kernel' of rank 5"),
        (lambda: with_kernel(put(np.nan)), PISSA, ValueError, "finite weights.*'dense/kernel' with 1 values that"),
        (lambda: with_kernel(put(np.inf)), PISSA, ValueError, "finite weights.*'dense/kernel' with 1 values that"),
        (lambda: with_factor(np.nan), PISSA, ValueError, "finite weights.*'dense/lora_kernel_a' with 648 values"),
        (
            lambda: with_kernel(put(-np.inf), factors="trained"),
            {"method": "gaussian"},
            ValueError,
            "finite weights.*'dense/kernel' with 1 values that",
        ),
        (
            lambda: with_kernel(put(6e4), factors="trained", dtype="float16", alpha=1e6),
            {"method": "gaussian"},
            ValueError,
            "can hold.*'conv/kernel' of dtype float16, whose range they exceed, with lora_alpha=1000000.0",
        ),
        (
            lambda: images(alpha=0)[0],
            PISSA,
            ValueError,
            "finite `lora_alpha` other than 0.*lora_alpha=0 .*'conv/kernel'",
        ),
        (lambda: images(alpha=np.inf)[0], PISSA, ValueError, "finite `lora_alpha` other than 0.*lora_alpha=inf"),
        (
            lambda: images(alpha=1e-200)[0],
            PISSA,
            ValueError,
            "can hold.*'conv/lora_kernel_a' of dtype float32.*=1e-200",
        ),
    ],
)
def test_a_refused_call_changes_nothing(make, arguments, error, message, monkeypatch):
    model = make()
    before = [to_numpy(weight) for weight in getattr(model, "weights", [])]
    made = []
    monkeypatch.setattr(keras.Variable, "assign", lambda variable, value: made.append(variable))
    with pytest.raises(error, match=message):
        initialize_lora(model, **arguments)
    assert not made
    for value, weight in zip(before, getattr(model, "weights", []), strict=True):
        np.testing.assert_array_equal(to_numpy(weight), value)


def values(model):
    return {one.path: to_numpy(one.variable.value).copy() for one in find_weights(model)}


def images_of(rank=3, **arguments):
    return images(rank=rank, **arguments)[0]


@pytest.mark.parametrize(("make", "x"), [(images_of, IMAGES), (words, WORDS)], ids=["images", "words"])
def test_factors_are_merged_into_what_is_loaded_without_them(make, x):
    source = make()
    trained = train(source, x)
    before = weights_digest(source)
    model = make(rank=0)
    plan = load_pretrained(model, source)
    np.testing.assert_allclose(outputs(model, x), trained, rtol=1e-4, atol=1e-4)
    changes = {row.path: row.how for row in plan.rows if row.how}
    assert set(changes.values()) == {"LoRA merged"}
    assert list(changes) == [path for path in values(model) if not path.endswith("bias")]
    assert not plan.unused
    assert weights_digest(source) == before


def test_factors_that_are_loaded_too_are_not_merged():
    source = images_of(alpha=6)
    train(source)
    model = images_of(alpha=6)
    load_pretrained(model, source)
    assert weights_digest(model) == weights_digest(source)


def test_factors_are_merged_from_other_names_and_before_they_change():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6, name="first"), layers.Dense(6, name="last")])
    initialize(model, seed=0)
    first, last = model.layers
    last.enable_lora(2, lora_alpha=3)
    train(model, np.ones((1, 6), "float32"))
    expected = to_numpy(last.kernel), weight(first, "kernel").copy()
    rules = {"last/kernel": "first/kernel", "last/lora*": None, "first/kernel": ("last/kernel", np.s_[:])}
    load_pretrained(model, model, rules)
    np.testing.assert_allclose(weight(first, "kernel"), expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(weight(last, "kernel"), expected[1])


def quantized_and_trained():
    model = quantized()
    train(model)
    return model


def trained_images(**arguments):
    model = images_of(**arguments)
    train(model)
    return model


@pytest.mark.once
@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        (lambda: images_of(alpha=6), trained_images, "'dense/lora_kernel_b' .* `lora_alpha / lora_rank` of 2.0, not 1"),
        (trained_images, lambda: images_of(rank=0), "'dense/kernel' .*: its layer adds LoRA factors that are not zero"),
        (lambda: images_of(rank=0), quantized_and_trained, "'dense/kernel' .* merged with a quantized kernel"),
        (
            lambda: images_of(rank=0, dtype="float16"),
            lambda: trained_images(dtype="float16", alpha=1e6),
            "'conv/kernel.* for 'conv/kernel', with numbers beyond the range of float16",
        ),
    ],
    ids=["another alpha", "factors in the way", "quantized", "too large"],
)
def test_factors_that_cannot_be_merged_are_not_left_out(model, source, message):
    model = model()
    before = weights_digest(model)
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, source())
    assert weights_digest(model) == before


@pytest.mark.once
def test_factors_alone_need_the_scale_of_the_source_too():
    source = trained_images(alpha=6)
    model = images_of()
    with pytest.raises(ValueError, match=r"'dense/lora_kernel_b' .* a `lora_alpha / lora_rank` of 1\.0, not 2\.0"):
        load_pretrained(model, source, {"*/lora*": "{0}/lora{1}"})
    load_pretrained(images_of(alpha=6), source, {"*/lora*": "{0}/lora{1}"})


@pytest.mark.parametrize("way", ["merged before", "left by a rule"])
def test_a_model_with_trained_factors_takes_a_kernel(way):
    source = images_of(rank=0)
    initialize(source, seed=7)
    model = trained_images()
    factors = values(model)
    rules = None
    if way == "merged before":
        initialize_lora(model, seed=0)
    else:
        rules = {"*/lora*": None, "*": "{0}"}
    load_pretrained(model, source, rules)
    if way == "merged before":
        np.testing.assert_allclose(outputs(model), outputs(source), rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(values(model)["dense/lora_kernel_b"], factors["dense/lora_kernel_b"])


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_keras_merges_what_it_saves(name, tmp_path):
    source = words()
    trained = train(source, WORDS)
    getattr(source, "save" if name == "a.keras" else "save_weights")(tmp_path / name)
    model = words(rank=0)
    load_pretrained(model, tmp_path / name, {"words/embeddings": "layers/embedding/vars/0"})
    np.testing.assert_allclose(outputs(model, WORDS), trained, rtol=1e-5, atol=1e-5)
