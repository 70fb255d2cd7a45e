"""`python examples/pack_smollm2.py OLD.txt NEW.txt --out DIR/pretrained.npz`.

Packs SmolLM2 and texts into one file of arrays that `python -m benchmarks run
finetune-smollm2 --data-dir DIR` reads: SmolLM2-135M-Instruct, quantised as its package
has it, the tokens of both texts, and texts that the network writes here, which takes
minutes. A machine with a GPU then needs neither the package nor `gguf` nor
`tokenizers`. For `finetune-smollm2-short` alone `--texts 32 --length 128` is enough.

NEW.txt is what the network will learn, OLD.txt English that is unlike it, which tells
what it forgets; both in UTF-8. For `finetune-smollm2` NEW is the Jargon File: `apt
download jargon-text`, `dpkg -x *.deb .`, `zcat usr/share/doc/jargon-text/jargon.txt.gz
> NEW.txt`. OLD is Shakespeare, tinyshakespeare.txt.
"""

import hashlib
from pathlib import Path

import jax
import numpy as np
import smollm2
import typer

AT_ONCE = 16  # texts that are written together


def weights(file):
    """Return the file's arrays as they are, named by tensor and kind.

    Those of all layers are stacked, in the order of the layers.
    """
    layers: dict[str, dict[int, np.ndarray]] = {}
    found: dict[str, np.ndarray] = {}
    for each in smollm2.package("gguf").GGUFReader(file).tensors:
        name = f"{each.name.removesuffix('.weight')}:{each.tensor_type.name}"
        if name.startswith("blk."):
            _, number, own = name.split(".")
            layers.setdefault(own, {})[int(number)] = np.asarray(each.data)
        else:
            found[name] = np.asarray(each.data)
    count = max(map(len, layers.values()))
    for name, arrays in layers.items():
        if len(arrays) < count:
            raise ValueError(f"{file} has {name} in {len(arrays)} of {count} layers.")
        found[name] = np.stack([arrays[k] for k in range(len(arrays))])
    return found


def written(model, count, length):
    """Return texts that the model writes, (count, length + 1) tokens."""
    draw = jax.jit(smollm2.sample, static_argnums=(0, 3, 4))
    made = []
    for number in range(-(-count // AT_ONCE)):
        key = jax.random.key(number)
        made.append(draw(model.shape, model.params, key, AT_ONCE, length, model.start))
        print(f"{AT_ONCE * len(made)} of {count} texts are written.", flush=True)
    return np.concatenate(made)[:count]


def described(path):
    """Name what was read, with its size and what it holds."""
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{path.name} ({len(data):,} bytes, sha256 {digest})"


def main(
    old: Path,
    new: Path,
    out: Path = Path("pretrained.npz"),
    texts: int = 112,
    length: int = 512,
    file: Path | None = None,
) -> None:
    """Write network and texts to one file.

    Args:
      old: a text to forget, UTF-8.
      new: a text to learn, UTF-8.
      out: the file.
      texts: that the network writes.
      length: their tokens.
      file: the network in llama.cpp's format; without it, that of the package.
    """
    file = file or smollm2.find()
    model = smollm2.load(file)
    source = ", ".join(map(described, (file, old, new)))
    tokens = {
        name: np.asarray(model.encode(path.read_text("utf-8")), np.uint16)
        for name, path in (("old", old), ("new", new))
    }
    arrays = weights(file) | {
        "source": np.array(source),
        "numbers": np.array(model.shape),
        "sizes": np.asarray(model.sizes, np.uint16),
        **tokens,
        "own": np.asarray(written(model, texts, length), np.uint16),
    }
    with out.open("wb") as opened:
        np.savez(opened, **arrays)
    print(f"{out} holds {source}, and {texts} texts of the network's own.")


if __name__ == "__main__":
    typer.run(main)
