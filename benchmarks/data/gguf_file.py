"""A Llama network from a GGUF file: its shape, its parameters and its tokenizer.

The format is llama.cpp's; the packages `gguf` and `tokenizers` read it.
"""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx

MISSING = "To read a GGUF file: pip install gguf tokenizers"
CONTROL = 3  # the type of tokens such as <|endoftext|>

NAMES = {
    "norm1/scale": "attn_norm",
    "queries/kernel": "attn_q",
    "keys/kernel": "attn_k",
    "values/kernel": "attn_v",
    "attended/kernel": "attn_output",
    "norm2/scale": "ffn_norm",
    "gate/kernel": "ffn_gate",
    "up/kernel": "ffn_up",
    "down/kernel": "ffn_down",
}
"""Our name of each parameter of a block, and the file's."""


class Pretrained(NamedTuple):
    """What a file holds.

    Attributes:
      shape: fields of `benchmarks.models.llama.LlamaShape`.
      params: float32 arrays by path, such as ("blocks", 0, "norm1", "scale").
      tokenizer: a `tokenizers.Tokenizer`.
    """

    shape: dict[str, Any]
    params: dict[tuple[Any, ...], np.ndarray]
    tokenizer: Any


def package(name: str) -> Any:
    """Import a package that only these files need; ImportError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} is not installed. {MISSING}") from error


def read(path: Path) -> Pretrained:
    """Read a Llama network with tied embeddings and unscaled rotary positions.

    Raises:
      ImportError: `gguf` or `tokenizers` is not there.
      ValueError: the file is of another network.
    """
    reader = package("gguf").GGUFReader(path)
    about = {key: field.contents() for key, field in reader.fields.items()}
    if about["general.architecture"] != "llama":
        raise ValueError(
            f"{path} holds a network of the kind {about['general.architecture']}; "
            "give one of the kind llama."
        )
    shape = shape_of(about)
    dequantize = package("gguf").quants.dequantize
    arrays = {
        each.name: np.asarray(dequantize(each.data, each.tensor_type), np.float32)
        for each in reader.tensors
    }
    return Pretrained(shape, params_of(arrays, shape), tokenizer_of(about))


def shape_of(about: dict[str, Any]) -> dict[str, Any]:
    """Return the shape from the file's keys and values."""
    return {
        "tokens": len(about["tokenizer.ggml.tokens"]),
        "width": about["llama.embedding_length"],
        "layers": about["llama.block_count"],
        "heads": about["llama.attention.head_count"],
        "kv_heads": about["llama.attention.head_count_kv"],
        "hidden": about["llama.feed_forward_length"],
        "rotary_base": about["llama.rope.freq_base"],
        "epsilon": about["llama.attention.layer_norm_rms_epsilon"],
    }


def params_of(
    arrays: dict[str, np.ndarray], shape: dict[str, Any]
) -> dict[tuple[Any, ...], np.ndarray]:
    """Name and lay out the parameters as our network has them.

    A kernel has its inputs first. The file turns neighbouring features of a query or a
    key together, we turn feature i with i + half.
    """
    params: dict[tuple[Any, ...], np.ndarray] = {
        ("embedding", "embedding"): arrays["token_embd.weight"],
        ("norm", "scale"): arrays["output_norm.weight"],
    }
    known = {"token_embd.weight", "output_norm.weight"}
    heads = {"attn_q": shape["heads"], "attn_k": shape["kv_heads"]}
    for number in range(shape["layers"]):
        for path, name in NAMES.items():
            known.add(full := f"blk.{number}.{name}.weight")
            array = arrays[full]
            if name in heads:
                pairs = array.reshape(heads[name], -1, 2, array.shape[1])
                array = pairs.swapaxes(1, 2).reshape(array.shape)
            params["blocks", number, *path.split("/")] = array.T
    if other := arrays.keys() - known:
        raise ValueError(
            f"The file has tensors that our network lacks: {', '.join(sorted(other))}."
        )
    return params


def put(model: nnx.Module, params: dict[tuple[Any, ...], np.ndarray]) -> None:
    """Give a network its parameters; ValueError if it has others."""
    state = dict(nnx.to_flat_state(nnx.state(model, nnx.Param)))
    shapes = {path: own.shape for path, own in state.items()}
    if shapes != (given := {path: x.shape for path, x in params.items()}):
        wrong = sorted(map(str, shapes.items() ^ given.items()))
        raise ValueError(f"The parameters are of another network: {wrong[0]}.")
    new = {path: own.replace(jnp.asarray(params[path])) for path, own in state.items()}
    nnx.update(model, nnx.from_flat_state(new))


def tokenizer_of(about: dict[str, Any]) -> Any:
    """Build the byte-level BPE of a file: digits one by one, no space put before."""
    kind = about["tokenizer.ggml.model"], about["tokenizer.ggml.pre"]
    if kind != ("gpt2", "smollm"):
        raise ValueError(f"The tokenizer is {kind}; only ('gpt2', 'smollm') is read.")
    tokenizers = package("tokenizers")
    tokens = about["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in about["tokenizer.ggml.merges"]]
    bpe = tokenizers.models.BPE({x: k for k, x in enumerate(tokens)}, merges)
    found = tokenizers.Tokenizer(bpe)
    found.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    found.decoder = tokenizers.decoders.ByteLevel()
    types = about["tokenizer.ggml.token_type"]
    control = [x for x, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    found.add_special_tokens(control)
    return found
