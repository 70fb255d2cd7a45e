"""What a smaller anchor costs: the script runs, and rounds at random as it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smaller_anchor


@pytest.mark.slow
def test_script_runs(tmp_path, capsys):
    smaller_anchor.main(tiny=True, out=tmp_path)

    text = (tmp_path / "smaller_anchor-digits.md").read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    assert "`python examples/smaller_anchor.py --data digits --tiny` on" in text
    assert "nan" not in text
    rows = (
        (tmp_path / "smaller_anchor-digits.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    assert rows[0].startswith("table,method,")
    assert len(rows) > 2
    assert (tmp_path / "smaller_anchor-digits.png").stat().st_size > 10_000


def test_rounding_at_random_is_right_on_average():
    """To both neighbours in bfloat16, in the shares that make the mean exact."""
    w = jnp.array([1.0, -1.001, 3e-5, 0.0])
    keys = jax.random.split(jax.random.key(0), 10_000)
    rounded = jax.vmap(lambda key: smaller_anchor.rounded_at_random(w, key))(keys)
    assert jnp.all(rounded == rounded.astype(jnp.bfloat16))
    missed = np.asarray(rounded) - np.asarray(w)
    step = np.spacing(np.abs(np.asarray(w))) * 2.0**16  # bfloat16 has 16 bits less
    assert np.all(np.abs(missed) < step)
    # The mean of 10,000 draws of standard deviation <= step / 2: 5 standard errors.
    assert np.all(np.abs(missed.mean(axis=0)) <= 0.025 * step)
