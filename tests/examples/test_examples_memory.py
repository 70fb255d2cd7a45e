"""The example of memory counts what arrays take, by hand."""

import finetune_memory
import jax
import pytest
import smollm2

FLOAT, HALF = 4, 2
KEPT = {
    "AdamW": 3 * FLOAT,  # the parameters and two moments
    "L2-SP, float32 anchor": 4 * FLOAT,
    "EWC, float32 anchor and Fisher": 5 * FLOAT,
    "EWC, float32 anchor, bfloat16 Fisher": 4 * FLOAT + HALF,
    "EWC, bfloat16 anchor and Fisher": 3 * FLOAT + 2 * HALF,
    "anchor of a period, float32": 4 * FLOAT,
    "anchor of a period, int16": 3 * FLOAT + HALF,
    "AdamW, each of 2 devices": 3 * FLOAT / 2,
    "EWC, float32, each of 2 devices": 5 * FLOAT / 2,
}
OTHERS = 64  # bytes, at most: steps, and what an int16 anchor is counted in


@pytest.mark.filterwarnings("ignore:anchor_dtype=bfloat16")
@pytest.mark.parametrize("name", KEPT)
def test_bytes_are_those_of_the_arrays(name):
    params = jax.eval_shape(lambda: smollm2.tiny().params)
    method = finetune_memory.METHODS[name]
    size = sum(x.size for x in jax.tree.leaves(params))
    kept, most, taken = finetune_memory.of_update(method, params)
    assert taken > 0
    assert 0 <= size * (kept - KEPT[name]) <= OTHERS
    assert most - kept >= FLOAT / method.devices  # the gradients
