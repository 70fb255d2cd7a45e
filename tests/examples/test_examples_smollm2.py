"""The example of a pretrained language model runs, and counts bits as NumPy does."""

import finetune_smollm2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smollm2
from scipy.special import log_softmax

LENGTH = 8


@pytest.fixture(scope="module")
def model():
    """Return a small network; byte 7 stands for a token of no bytes, 9 for one of 3."""
    tiny = smollm2.tiny()
    return tiny._replace(sizes=tiny.sizes.at[jnp.array([7, 9])].set(jnp.array([0, 3])))


def test_windows_predict_each_token_once(model):
    rows = finetune_smollm2.windows(model, "abcdefghijklmnopqrst", LENGTH)
    assert [bytes(row.tolist()) for row in rows] == [b"abcdefghi", b"ijklmnopq"]
    all_of_it = finetune_smollm2.windows(model, "abcdefghi", LENGTH)
    assert [bytes(row.tolist()) for row in all_of_it] == [b"abcdefghi"]


def test_bits_are_those_of_numpy(model):
    """Float32 sums of 24 terms of about 6 nats: 1e-5 of them."""
    rows = np.random.default_rng(0).integers(0, 12, (3, LENGTH + 1))
    logits, _ = smollm2.logits(model.shape, model.params, jnp.asarray(rows[:, :-1]))
    log_p = log_softmax(np.asarray(logits, np.float64), axis=-1)
    nats = -np.take_along_axis(log_p, rows[:, 1:, None], axis=-1)
    bytes_ = np.where(rows == 7, 0, np.where(rows == 9, 3, 1))[:, 1:]
    expected = nats.sum() / np.log(2) / bytes_.sum()
    found = finetune_smollm2.bits(model, model.params, jnp.asarray(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    loss = finetune_smollm2.mean_loss(model.shape, model.params, jnp.asarray(rows))
    np.testing.assert_allclose(loss, nats.mean(), rtol=1e-5)


def test_the_pull_holds_what_the_fisher_information_names(model):
    """A pull of 1e20 returns to the anchor up to rounding; Adam's steps are 3e-4."""
    fisher = jax.tree.map(jnp.zeros_like, model.params)
    fisher["layers"]["attn_q"] = jnp.full_like(fisher["layers"]["attn_q"], 1e20)
    batches = np.random.default_rng(0).integers(0, 256, (2, 2, LENGTH + 1))
    new = finetune_smollm2.learn(finetune_smollm2.ewc, model, 1.0, fisher, batches)
    moves = jax.tree.map(lambda a, w: float(abs(w - a).max()), model.params, new)
    assert moves["layers"].pop("attn_q") < 1e-6
    assert min(jax.tree.leaves(moves)) > 1e-4


def test_a_difference_is_from_the_interpolation_that_learned_as_much():
    """By hand: 0.85 bits lie half way from 1 to 0.7, the best; AdamW overshot it."""
    found = {
        ("before", 0.0): np.array([1.0, 2.0, 1.0]),
        ("interpolated", 0.5): np.array([1.2, 2.1, 0.7]),
        ("AdamW", 1.0): np.array([1.6, 2.4, 0.8]),
        ("EWC", 100.0): np.array([1.05, 2.1, 0.85]),
    }
    (sentence,) = finetune_smollm2.minus_interpolated(found)
    assert "own samples -0.0500, descriptions +0.0500" in sentence


@pytest.mark.slow
def test_tiny_run_writes_its_text_and_figure(tmp_path, capsys):
    finetune_smollm2.main(tiny=True, out=tmp_path)
    text = (tmp_path / "finetune_smollm2.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "`python examples/finetune_smollm2.py --tiny` on" in text
    assert "nan" not in text
    assert (tmp_path / "finetune_smollm2.png").stat().st_size > 10_000
    rows = (tmp_path / "finetune_smollm2.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "table,method,setting,seed,split,score"
    assert len(rows) == 1 + 3 * 8
