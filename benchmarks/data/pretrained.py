"""A pretrained Llama network and texts in its tokens, from one file of arrays.

`python examples/pack_smollm2.py` writes the file. It holds the weights as its source
has them, quantised, and needs NumPy alone to be read.
"""

import zlib
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import jax.numpy as jnp
import numpy as np

NAME = "pretrained.npz"
TEXTS = "old", "new", "own"
HELD_OUT = 10  # a tenth of the new text is for test, the one before for validation
BLOCK = 32  # quantised numbers that share a scale

NAMES = {
    "attn_norm": ("norm1", "scale"),
    "attn_q": ("queries", "kernel"),
    "attn_k": ("keys", "kernel"),
    "attn_v": ("values", "kernel"),
    "attn_output": ("attended", "kernel"),
    "ffn_norm": ("norm2", "scale"),
    "ffn_gate": ("gate", "kernel"),
    "ffn_up": ("up", "kernel"),
    "ffn_down": ("down", "kernel"),
}
"""The file's name of each parameter of a block, as llama.cpp has it, and our path."""

Keys = tuple[str, ...]


class Numbers(NamedTuple):
    """Say of a network what its arrays do not.

    Attributes:
      heads: of the queries.
      kv_heads: of keys and values.
      rotary_base: of the positions' angles.
      epsilon: of the norms.
    """

    heads: float
    kv_heads: float
    rotary_base: float
    epsilon: float


class Lessons(NamedTuple):
    """Hold what is trained on.

    Attributes:
      tokens: int32, shape (n,), of the new text.
      own: int32, shape (k, context + 1), texts of the network's own.
      sizes: int32, shape (vocabulary,), the bytes of each token.
    """

    tokens: Any
    own: Any
    sizes: Any


class Scored(NamedTuple):
    """Hold what is scored.

    Attributes:
      windows: int32, shape (k, context + 1), by the names in `TEXTS`.
      sizes: int32, shape (vocabulary,), the bytes of each token.
    """

    windows: dict[str, Any]
    sizes: Any


class Pretrained(NamedTuple):
    """A network and texts.

    Attributes:
      train: what is trained on.
      validation: windows to choose by.
      test: windows for the final measures.
      source: names what was read.
      params: float32 arrays by their path in the network.
    """

    train: Lessons
    validation: Scored
    test: Scored
    source: str
    params: dict[Keys, np.ndarray]


def load(
    path: Path | None, numbers: Numbers, context: int, own: int, scored: int
) -> Pretrained:
    """Read a file, or that of its usual name in a folder.

    Args:
      path: of the file or the folder.
      numbers: of the network that is expected.
      context: tokens that a window predicts.
      own: texts of the network's own to learn from; further ones are scored.
      scored: windows of each text in validation and test, at equal distances.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is of another network, or holds fewer or shorter windows.
    """
    file = path / NAME if path and path.is_dir() else path
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"There is no pretrained network in {path or 'a folder, as none is named'};"
            f" write one with `python examples/pack_smollm2.py OLD.txt NEW.txt --out "
            f"DIR/{NAME}`, then: --data-dir DIR."
        )
    try:
        with file.open("rb") as opened, np.load(opened) as read:
            arrays = dict(read)
        source, found = str(arrays.pop("source")), arrays.pop("numbers")
        texts = {name: arrays.pop(name).astype(np.int32) for name in (*TEXTS, "sizes")}
    except (BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged, or not of examples/pack_smollm2.py ({error}); copy it "
            "again, or write it anew."
        ) from error
    if not np.allclose(found, numbers, rtol=1e-6):
        raise ValueError(
            f"{file} holds another network: {Numbers(*found.tolist())}; "
            f"pack one of {numbers}."
        )
    try:
        splits = divided(texts, context, own, scored)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return Pretrained(*splits, source, params_of(arrays, numbers))


def divided(
    texts: dict[str, np.ndarray], context: int, own: int, scored: int
) -> tuple[Lessons, Scored, Scored]:
    """Divide the texts, (n,) of tokens or (n, length + 1), into the three splits."""
    written = texts["own"][:, : context + 1]
    if written.shape[1] <= context or len(written) < own + 2 * scored:
        raise ValueError(
            f"{len(written)} texts of {texts['own'].shape[1] - 1} tokens are the "
            f"network's own, and {own + 2 * scored} of {context} are needed; "
            "pack it with a larger --texts or --length."
        )
    new, tenth = texts["new"], len(texts["new"]) // HELD_OUT
    parts = {
        "old": np.array_split(texts["old"], 2),
        "new": (new[-2 * tenth : -tenth], new[-tenth:]),
    }
    cut = {
        name: [spread(part, context, scored, name) for part in both]
        for name, both in parts.items()
    }
    first, second = own + scored, own + 2 * scored
    cut["own"] = [written[own:first], written[first:second]]
    sizes = jnp.asarray(texts["sizes"])
    lessons = Lessons(jnp.asarray(new[: -2 * tenth]), jnp.asarray(written[:own]), sizes)
    validation, test = (
        Scored({name: jnp.asarray(both[k]) for name, both in cut.items()}, sizes)
        for k in range(2)
    )
    return lessons, validation, test


def spread(tokens: np.ndarray, context: int, count: int, name: str) -> np.ndarray:
    """Return so many windows at equal distances, which predict no token twice."""
    last = len(tokens) - context - 1
    if last < (count - 1) * context:
        raise ValueError(
            f"a half of the old text, or a tenth of the new one, is too short: the "
            f"{name} one has {len(tokens)} tokens there, and {count} windows of "
            f"{context} are needed; pack a longer text."
        )
    starts = np.linspace(0, last, count).astype(int)
    return tokens[starts[:, np.newaxis] + np.arange(context + 1)[np.newaxis]]


def dequantised(raw: np.ndarray, kind: str) -> np.ndarray:
    """Return float32 numbers of blocks of bytes on the last axis.

    The formats are llama.cpp's. In Q4_1 a block is a scale, a shift and 32 numbers of 4
    bits, the first half of them in the low bits; in Q8_0 a scale and 32 of 8 bits.
    """
    if kind == "F32":
        return raw
    if kind == "Q8_0":
        blocks = raw.reshape(*raw.shape[:-1], -1, 2 + BLOCK)
        numbers = as_float(blocks[..., :2]) * blocks[..., 2:].view(np.int8)
    elif kind == "Q4_1":
        blocks = raw.reshape(*raw.shape[:-1], -1, 4 + BLOCK // 2)
        both = blocks[..., 4:]
        codes = np.concatenate([both & 15, both >> 4], axis=-1)
        numbers = as_float(blocks[..., :2]) * codes + as_float(blocks[..., 2:4])
    else:
        raise ValueError(f"A tensor is {kind}; only F32, Q4_1 and Q8_0 are read.")
    return numbers.reshape(*raw.shape[:-1], -1)


def as_float(two_bytes: np.ndarray) -> np.ndarray:
    """Read float16 numbers as float32."""
    return np.ascontiguousarray(two_bytes).view(np.float16).astype(np.float32)


def params_of(
    arrays: dict[str, np.ndarray], numbers: Numbers
) -> dict[Keys, np.ndarray]:
    """Name and lay out the parameters as our network has them.

    An array's name in the file is that of the tensor and its kind; those of all blocks
    are stacked. A kernel has its inputs first. The file turns neighbouring features of
    a query or a key together, we turn feature i with i + half.
    """
    named = {name.split(":")[0]: (x, name.split(":")[1]) for name, x in arrays.items()}
    found = {name: dequantised(*both) for name, both in named.items()}
    params: dict[Keys, np.ndarray] = {
        ("embedding", "embedding"): found.pop("token_embd"),
        ("norm", "scale"): found.pop("output_norm"),
    }
    if other := found.keys() - NAMES.keys():
        raise ValueError(
            f"The file has tensors that our network lacks: {', '.join(sorted(other))}."
        )
    for name, array in found.items():
        if name in ("attn_q", "attn_k"):
            heads = numbers.heads if name == "attn_q" else numbers.kv_heads
            pairs = array.reshape(len(array), int(heads), -1, 2, array.shape[2])
            array = pairs.swapaxes(2, 3).reshape(array.shape)
        params["blocks", *NAMES[name]] = np.moveaxis(array, 1, -1)
    return params


def drawn(
    shapes: dict[Keys, tuple[int, ...]], context: int, own: int, scored: int
) -> Pretrained:
    """Return random parameters of these shapes and random texts of bytes."""
    rng = np.random.default_rng(0)
    params = {
        path: rng.normal("scale" in path, 0.25, size).astype(np.float32)
        for path, size in shapes.items()
    }
    length = 2 * HELD_OUT * (scored + 1) * (context + 1)
    texts = {name: rng.integers(0, 256, length) for name in ("old", "new")}
    texts["own"] = rng.integers(0, 256, (own + 2 * scored, context + 1))
    texts["sizes"] = np.ones(256, int)
    texts = {name: x.astype(np.int32) for name, x in texts.items()}
    return Pretrained(*divided(texts, context, own, scored), "drawn", params)
