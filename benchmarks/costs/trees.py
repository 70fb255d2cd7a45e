"""The parameters whose updates are measured, as shapes: nothing is allocated."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Tree = dict[str, jax.ShapeDtypeStruct]
Trees = Mapping[str, Callable[[], Tree]]
"""How to make trees, by their names."""

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))  # blocks and inner width
OUTER = 4  # outer width of a bottleneck over its inner one


def resnet50() -> Tree:
    """Return ResNet-50's 53 kernels and its classifier, with five gains of norms.

    The gains are of the stem and of each stage. A gain and a bias in every layer would
    make 161 leaves of nearly the same bytes.
    """
    shapes: dict[str, tuple[int, ...]] = {"stem": (7, 7, 3, 64), "stem gain": (64,)}
    width = 64
    for stage, (blocks, inner) in enumerate(STAGES):
        outer = OUTER * inner
        for block in range(blocks):
            name = f"stage {stage} block {block} "
            shapes[name + "in"] = (1, 1, width, inner)
            shapes[name + "middle"] = (3, 3, inner, inner)
            shapes[name + "out"] = (1, 1, inner, outer)
            if block == 0:
                shapes[name + "shortcut"] = (1, 1, width, outer)
            width = outer
        shapes[f"stage {stage} gain"] = (width,)
    return leaves(shapes | {"head": (width, 1000), "head bias": (1000,)})


def gpt2_small() -> Tree:
    """Return GPT-2 small: 12 blocks of width 768, tied embeddings."""
    width, inner = 768, 3072
    shapes: dict[str, tuple[int, ...]] = {
        "tokens": (50257, width),
        "positions": (1024, width),
        "norm gain": (width,),
        "norm bias": (width,),
    }
    for block in range(12):
        name = f"block {block} "
        for norm in ("attention norm", "mlp norm"):
            shapes[f"{name}{norm} gain"] = (width,)
            shapes[f"{name}{norm} bias"] = (width,)
        for layer, n, m in (
            ("attention in", width, 3 * width),
            ("attention out", width, width),
            ("mlp in", width, inner),
            ("mlp out", inner, width),
        ):
            shapes[f"{name}{layer} kernel"] = (n, m)
            shapes[f"{name}{layer} bias"] = (m,)
    return leaves(shapes)


def leaves(shapes: dict[str, tuple[int, ...]]) -> Tree:
    """Return float32 parameters of these shapes."""
    return {
        name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()
    }


def size(tree: Tree) -> int:
    """Return the bytes of all leaves."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in tree.values())


TREES: dict[str, Callable[[], Tree]] = {
    "ResNet-50": resnet50,
    "GPT-2 small": gpt2_small,
}
