"""`python examples/pack_smollm2.py --out DIR/pretrained.npz`: pack SmolLM2 for a GPU.

One file of arrays holds all that `python -m benchmarks run finetune-smollm2 --data-dir
DIR` reads: SmolLM2-135M-Instruct, quantised as its package has it, an old and a new
text in its tokens, and texts that it writes here, which takes minutes. The machine that
trains then needs neither that package nor `gguf` nor `tokenizers`.

The old text is English, what scikit-learn says of its data sets. The new one is
Python's reference, the topics of `help()`, or a file: `--new jargon.txt`.
"""

import hashlib
import json
from pathlib import Path
from pydoc_data import topics

import finetune_smollm2
import jax
import numpy as np
import smollm2
import typer

AT_ONCE = 16  # texts that are written together


def weights(file):
    """Return the file's arrays as they are, named by tensor and kind.

    Those of all layers are stacked.
    """
    by_name: dict[str, list[np.ndarray]] = {}
    for each in smollm2.package("gguf").GGUFReader(file).tensors:
        name = f"{each.name.removesuffix('.weight')}:{each.tensor_type.name}"
        by_name.setdefault(name.split(".", 2)[-1], []).append(np.asarray(each.data))
    return {
        name: np.stack(found) if name.startswith(("attn", "ffn")) else found[0]
        for name, found in by_name.items()
    }


def shape_of(model):
    """Return the network's shape by the names that the benchmarks have."""
    layers, hidden, width = model.params["layers"]["ffn_up"].shape
    return {
        "tokens": len(model.params["token_embd"]),
        "width": width,
        "layers": layers,
        "heads": model.shape.heads,
        "kv_heads": model.shape.kv_heads,
        "hidden": hidden,
        "rotary_base": model.shape.base,
        "epsilon": model.shape.epsilon,
    }


def written(model, count, length):
    """Return texts that the model writes, (count, length + 1) tokens."""
    draw = jax.jit(smollm2.sample, static_argnums=(0, 3, 4))
    made = []
    for number in range(-(-count // AT_ONCE)):
        key = jax.random.key(number)
        made.append(draw(model.shape, model.params, key, AT_ONCE, length, model.start))
        print(f"{AT_ONCE * len(made)} of {count} texts are written.", flush=True)
    return np.concatenate(made)[:count]


def described(name, data):
    """Name what was read, with its size and what it holds."""
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{name} ({len(data):,} bytes, sha256 {digest})"


def main(
    out: Path,
    new: Path | None = None,
    texts: int = 112,
    length: int = 512,
    file: Path | None = None,
) -> None:
    """Write network and texts to one file.

    Args:
      out: the file.
      new: the text to learn, UTF-8; without it, Python's reference.
      texts: that the network writes.
      length: their tokens.
      file: the network in llama.cpp's format; without it, that of the package.
    """
    file = file or smollm2.find()
    model, old = smollm2.load(file), finetune_smollm2.descriptions()
    reference = "".join(x for _, x in sorted(topics.topics.items()))
    text = new.read_text("utf-8") if new else reference
    named = new.name if new else "the topics of Python's help()"
    read = {"scikit-learn's descriptions": old.encode(), named: text.encode()}
    sources = [described(file.name, file.read_bytes())]
    sources += [described(*each) for each in read.items()]
    about = {"shape": shape_of(model), "source": ", ".join(sources)}
    arrays = weights(file) | {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "sizes": np.asarray(model.sizes, np.uint16),
        "old": np.asarray(model.encode(old), np.uint16),
        "new": np.asarray(model.encode(text), np.uint16),
        "own": np.asarray(written(model, texts, length), np.uint16),
    }
    with out.open("wb") as opened:
        np.savez(opened, **arrays)
    print(f"{out} holds {', '.join(sources)} and {texts} texts of its own.")


if __name__ == "__main__":
    typer.run(main)
