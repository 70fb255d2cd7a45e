"""Language modelling: network, data, loss and evaluation against NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from benchmarks.data import text
from benchmarks.models import transformer
from benchmarks.models.transformer import SHAPES, Shape, Transformer
from benchmarks.tasks.language import Text, language
from benchmarks.tasks.problem import split_model
from benchmarks.training.keys import order_key

SMALL = Shape(width=8, layers=2, heads=2)
PARAMETERS = {
    "tiny": 7_216,
    "0.07M": 67_824,
    "0.8M": 820_352,
    "11M": 10_720_128,
    "85M": 85_150_464,
    "124M": 124_839_104,
}


@pytest.fixture
def numbers(monkeypatch):
    monkeypatch.setitem(SHAPES, "small", SMALL)
    return Text(shape="small", context=6, windows=48, dtype="float32")


def network(shape=SMALL, seed=0, **arguments):
    return Transformer(shape, rngs=nnx.Rngs(seed), **arguments)


@pytest.mark.parametrize("name", SHAPES)
def test_parameter_counts(name):
    width, layers, _ = SHAPES[name]
    _, params, stats = split_model(nnx.eval_shape(lambda: network(SHAPES[name])))
    leaves = jax.tree.leaves(params)
    # queries, keys, values and what they attend to; the MLP in and out; two norms
    block = 4 * width**2 + 2 * 4 * width**2 + 2 * width
    assert sum(x.size for x in leaves) == 256 * width + layers * block + width
    assert sum(x.size for x in leaves) == PARAMETERS[name]
    assert jax.tree.leaves(stats) == []


@pytest.mark.slow
def test_a_later_byte_changes_no_earlier_logit():
    model = network()
    bytes_ = jax.random.randint(jax.random.key(0), (1, 9), 0, 256)
    before = model(bytes_)
    for at in (0, 4, 8):
        after = model(bytes_.at[0, at].add(1))
        np.testing.assert_array_equal(before[:, :at], after[:, :at])
        assert (before[:, at:] != after[:, at:]).any(axis=-1).all()


def test_products_of_turned_vectors_depend_on_the_distance():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 6))
    turned = [transformer.rotary(jnp.tile(x, (7, 1, 1)))[:, 0] for x in (q, k)]
    products = np.asarray(turned[0] @ turned[1].T)
    # float32: sums of 6 products of order 1
    for distance in range(-6, 7):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-5)
    np.testing.assert_array_equal(turned[0][0], q[0, 0])
    assert np.ptp(products[0]) > 0.1


def test_bfloat16_is_of_the_activations_alone():
    def abstract():
        return network(dtype=jnp.bfloat16)

    _, params, _ = split_model(nnx.eval_shape(abstract))
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    bytes_ = jnp.zeros((1, 4), jnp.int32)
    logits = jax.eval_shape(lambda: abstract()(bytes_))
    hidden = jax.eval_shape(lambda: abstract().blocks[0](abstract().embedding(bytes_)))
    assert (logits.dtype, hidden.dtype) == (jnp.float32, jnp.bfloat16)


def oracle(model, bytes_):
    """Compute the logits of a window in float64, a position at a time."""

    def kernel(linear):
        return np.asarray(linear.kernel[...], np.float64)

    def normed(x, norm):
        return x / np.sqrt(np.mean(x**2) + 1e-6) * np.asarray(norm.scale[...])

    def turned(x, position):
        half = len(x) // 2
        z = x[:half] + 1j * x[half:]
        z = z * np.exp(1j * position * 10_000.0 ** (-np.arange(half) / half))
        return np.concatenate([z.real, z.imag])

    def gelu(x):
        return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    table = np.asarray(model.embedding.embedding[...], np.float64)
    stream = [table[byte] * np.sqrt(table.shape[1]) for byte in bytes_]
    for block in model.blocks:
        triples = [
            (normed(x, block.norm1) @ kernel(block.queries_keys_values)).reshape(
                3, block.heads, -1
            )
            for x in stream
        ]
        for i, x in enumerate(list(stream)):
            mixed = []
            for head in range(block.heads):
                q = turned(triples[i][0, head], i)
                keys = [turned(triples[j][1, head], j) for j in range(i + 1)]
                weights = np.exp([q @ k / np.sqrt(len(q)) for k in keys])
                values = np.stack([triples[j][2, head] for j in range(i + 1)])
                mixed.append(weights / weights.sum() @ values)
            x = x + np.concatenate(mixed) @ kernel(block.attended)
            hidden = gelu(normed(x, block.norm2) @ kernel(block.hidden))
            stream[i] = x + hidden @ kernel(block.out)
    return np.stack([normed(x, model.norm) @ table.T for x in stream])


def nats(logits, targets):
    """Compute the nats of each target, in float64."""
    exact = logits - logits.max(axis=-1, keepdims=True)
    of_all = np.log(np.exp(exact).sum(axis=-1))
    return of_all - exact[np.arange(len(targets)), targets]


def test_loss_is_that_of_a_loop_in_numpy(numbers):
    data = np.random.default_rng(0).integers(0, 256, 40).astype(np.uint8)
    task = language(numbers, len(data), batch_size=2)
    params, stats = task.init(jax.random.key(1))
    # larger embeddings, for logits that differ by more than rounding
    params = jax.tree.map(
        lambda x: 5 * x if x.ndim == 2 and len(x) == 256 else x, params
    )
    graph, _, _ = split_model(numbers.network(nnx.Rngs(0)))
    model = nnx.merge(graph, params["network"], stats)
    starts = np.array([3, 33])
    expected = np.concatenate(
        [nats(oracle(model, data[s : s + 6]), data[s + 1 : s + 7]) for s in starts]
    )
    loss = jax.jit(task.players["network"])
    value, (_, measures) = loss(params, stats, jnp.asarray(data), starts, None)
    # float32: a few hundred roundings of numbers of order 1
    np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(measures["bits_per_byte"], value / np.log(2), rtol=1e-6)
    assert measures["loss"] == value


def last_byte_alone(task):
    """Return parameters of a network that adds nothing to the embeddings."""

    def silence(path, x):
        added = re.search("attended|'out'", jax.tree_util.keystr(path))
        return 0 * x if added else x

    params, stats = task.init(jax.random.key(1))
    return jax.tree_util.tree_map_with_path(silence, params), stats


@pytest.mark.slow
@pytest.mark.parametrize("length", [7, 13, 14, 20])
def test_every_byte_but_the_first_is_evaluated_once(numbers, length):
    task = language(numbers, 100, batch_size=1)
    params, stats = last_byte_alone(task)
    graph, _, _ = split_model(numbers.network(nnx.Rngs(0)))
    table = nnx.merge(graph, params["network"], stats)(jnp.arange(256)[:, None])
    table = np.asarray(table[:, 0], np.float64)
    split = np.random.default_rng(1).integers(0, 256, length).astype(np.uint8)
    split[1::2] = table.argmax(axis=1)[split[:-1:2]]  # easy, for less than 8 bits
    expected = nats(table[split[:-1]], split[1:]).mean()
    found = jax.jit(task.evaluate)(params, stats, jnp.asarray(split))
    # float32: a mean of at most 20 numbers of order 5
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_byte"], expected / np.log(2), rtol=1e-5)


@pytest.mark.parametrize("factor", [0, np.nan, 1e4])
def test_a_guess_that_knows_nothing_takes_8_bits_and_none_takes_more(numbers, factor):
    task = language(numbers, 100, batch_size=1)
    params, stats = task.init(jax.random.key(0))
    params = jax.tree.map(lambda x: factor * x, params)
    split = jnp.arange(30, dtype=jnp.uint8)
    found = jax.jit(task.evaluate)(params, stats, split)
    np.testing.assert_allclose(found["bits_per_byte"], 8, rtol=1e-6)
    assert np.isfinite(found["loss"]) == np.isfinite(factor)


def test_batches_show_the_same_windows_at_every_batch_size(numbers):
    key = order_key(3)
    by_size = {
        b: np.asarray(language(numbers, 50, b).batches(key, 2)) for b in (1, 4, 16)
    }
    assert {b: x.shape for b, x in by_size.items()} == {
        b: (48 // b, b) for b in (1, 4, 16)
    }
    for starts in by_size.values():
        np.testing.assert_array_equal(starts.ravel(), by_size[1].ravel())
    assert by_size[1].min() >= 0
    assert by_size[1].max() + numbers.context < 50
    assert (by_size[1] != language(numbers, 50, 1).batches(key, 3)).any()


def test_the_text_is_cut_in_order(tmp_path):
    content = bytes(range(256)) * 2
    (tmp_path / "a.txt").write_bytes(content)
    for path in (tmp_path, tmp_path / "a.txt"):
        train, validation, test, source = text.load(path, context=24)
        assert [len(x) for x in (train, validation, test)] == [462, 25, 25]
        assert b"".join(map(bytes, (train, validation, test))) == content
        assert source.startswith("a.txt (512 bytes, sha256 ")


def test_what_is_no_text_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Name a text file.*--data-dir FILE"):
        text.load(None, 8)
    with pytest.raises(FileNotFoundError, match="no such file; name one"):
        text.load(tmp_path / "none.txt", 8)
    with pytest.raises(FileNotFoundError, match=r"0 \.txt files; name one"):
        text.load(tmp_path, 8)
    (tmp_path / "short.txt").write_bytes(b"a" * 179)
    with pytest.raises(
        ValueError, match=r"179 bytes.*give a text of 180 bytes or more"
    ):
        text.load(tmp_path, 8)


def test_references_are_counts(numbers):
    def split(content):
        return jnp.asarray(np.frombuffer(content, np.uint8))

    data = text.TextSet(split(b"abab"), split(b""), split(b"aba"), "made by hand")
    found = numbers.references(data)
    assert found["a uniform guess"] == {"bits_per_byte": 8}
    # a and b twice each, and every byte once more: 3 of 260
    single = found["byte frequencies"]["bits_per_byte"]
    np.testing.assert_allclose(single, np.log2(260 / 3))
    # after a: b twice of 2; after b: a once of 1; and every byte once more
    pair = found["frequencies after the last byte"]["bits_per_byte"]
    np.testing.assert_allclose(pair, (np.log2(258 / 3) + np.log2(257 / 2)) / 2)
