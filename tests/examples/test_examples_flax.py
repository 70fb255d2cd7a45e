"""The Flax examples learn to read digits, and donate what they say they donate."""

import re
from pathlib import Path

import digits
import jax
import pytest
import train_linen
import train_nnx
from flax import nnx
from flax.training.train_state import TrainState

import prox_optax


@pytest.mark.parametrize("example", [train_linen, train_nnx])
def test_tiny_run_learns(example, capsys):
    assert example.__doc__.startswith(f"`python examples/{example.__name__}.py`: ")
    assert len(Path(example.__file__).read_text().splitlines()) < 80
    example.main(tiny=True)
    scores = re.findall(r"test accuracy (0\.\d+)", capsys.readouterr().out)
    assert float(scores[-1]) > 0.8


def batch():
    return tuple(x[:32] for x in digits.load()[0])


def test_linen_donates_its_state():
    model = train_linen.Network(8)
    params = model.init(jax.random.key(0), batch()[0])["params"]
    tx = prox_optax.tradamw(1e-3)
    state = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    old = [x for x in jax.tree.leaves(state) if isinstance(x, jax.Array)]
    train_linen.train_step(state, *batch())
    assert len(old) == 4 * 4 + 3  # params, anchor, two moments; three counters
    assert all(x.is_deleted() for x in old)


def test_nnx_donates_model_and_optimizer():
    model = train_nnx.Network(8, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, prox_optax.tradamw(1e-3), wrt=nnx.Param)
    old = jax.tree.leaves((nnx.state(model), nnx.state(optimizer)))
    train_nnx.train_step(model, optimizer, *batch())
    assert len(old) == 4 * 4 + 4  # nnx.Optimizer counts too
    assert all(x.is_deleted() for x in old)
