"""What the tuned examples share: training, trials and seeds in one program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure


class Tuned(NamedTuple):
    """The trials of one method, and its best by mean validation score."""

    trials: dict[str, np.ndarray]
    scores: np.ndarray
    """On validation data, shape (trials, seeds, ...)."""
    best: dict[str, float]
    outcome: Any
    """What the best trial returned, with a leading axis of seeds."""

    def __str__(self) -> str:
        """The numbers chosen; those at the edge of their range are marked."""
        return ", ".join(
            f"{name} {chosen:.3g}" + " (edge)" * _at_edge(chosen, self.trials[name])
            for name, chosen in self.best.items()
        )

    @property
    def validation(self) -> np.ndarray:
        """The mean scores that chose the best, shape (trials,)."""
        return self.scores.reshape(len(self.scores), -1).mean(axis=1)

    def profile(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The values of one number, and the best validation accuracy at each."""
        values = np.unique(self.trials[name])
        best = [self.validation[self.trials[name] == x].max() for x in values]
        return values, np.array(best)


def train(
    loss: Callable[..., jax.Array],
    optimizer: optax.GradientTransformation,
    params: optax.Params,
    state: optax.OptState,
    batches: jax.Array,
) -> tuple[optax.Params, optax.OptState]:
    """Parameters and optimizer state after a step on each batch (leading axis)."""

    def step(carry, batch):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), batches)[0]


def grid(**numbers: Sequence[float]) -> dict[str, np.ndarray]:
    """Every combination of the numbers, shape (trials,) each."""
    mesh = np.meshgrid(*numbers.values(), indexing="ij")
    return {name: x.ravel() for name, x in zip(numbers, mesh, strict=True)}


def tune(
    run: Callable[..., tuple[jax.Array, Any]],
    trials: dict[str, np.ndarray],
    *per_seed: Any,
) -> Tuned:
    """Run every trial with every seed, as one jitted program.

    Args:
      run: (trial, one slice of each of `per_seed`) -> validation scores, outcome.
      trials: numbers of shape (trials,).
      per_seed: trees with a leading axis of seeds.
    """
    over_seeds = jax.vmap(run, (None, *(0 for _ in per_seed)))
    over_trials = jax.vmap(over_seeds, (0, *(None for _ in per_seed)))
    arrays = jax.tree.map(jnp.float32, trials)
    scores, outcomes = jax.jit(over_trials)(arrays, *per_seed)
    tuned = Tuned(trials, np.asarray(scores), {}, None)
    i = tuned.validation.argmax()
    best = {name: float(values[i]) for name, values in trials.items()}
    outcome = jax.tree.map(lambda x: np.asarray(x)[i], outcomes)
    return tuned._replace(best=best, outcome=outcome)


def choices(tuned: dict[str, Tuned]) -> str:
    """A Markdown list of what was chosen for each method."""
    lines = (f"- {name}: {t}, of {len(t.scores)} trials" for name, t in tuned.items())
    return "Chosen on validation data:\n\n" + "\n".join(lines) + "\n"


def draw(tuned: dict[str, Tuned], number: str, xlabel: str) -> Figure:
    """The best validation accuracy at each value of `number`, for each method."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ylabel = "validation accuracy (fraction)"
    axes = figure.add_subplot(xscale="log", xlabel=xlabel, ylabel=ylabel)
    for name, t in tuned.items():
        if number in t.trials:
            axes.plot(*t.profile(number), ".-", label=name)
        else:
            axes.axhline(t.validation.max(), color="black", label=name)
    axes.legend()
    return figure


def _at_edge(chosen: float, values: np.ndarray) -> bool:
    return len(np.unique(values)) > 1 and chosen in (values.min(), values.max())
