"""What the tuned examples share: training, trials and seeds in one program."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import records
import report
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

CHOSEN = "Chosen on validation data"


class Tuned(NamedTuple):
    """The trials of one method, and its best by mean validation score."""

    trials: dict[str, np.ndarray]
    scores: np.ndarray
    """On validation data, shape (trials, seeds, ...)."""
    best: dict[str, float]
    outcome: Any
    """What the best trial returned, with a leading axis of seeds."""

    def __str__(self) -> str:
        """Name the numbers chosen, of several; mark 0 and the edges of their range."""
        return ", ".join(
            f"{name} {chosen:.3g}{_mark(chosen, self.trials[name])}"
            for name, chosen in self.best.items()
            if len(np.unique(self.trials[name])) > 1
        )

    @property
    def per_seed(self) -> np.ndarray:
        """The validation score of each trial and seed, to the digits that are kept."""
        return records.as_written(
            self.scores.reshape(*self.scores.shape[:2], -1).mean(2)
        )

    @property
    def validation(self) -> np.ndarray:
        """The mean scores that chose the best, shape (trials,)."""
        return self.per_seed.mean(axis=1)

    def profile(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of one number, and the best validation accuracy at each."""
        values = np.unique(self.trials[name])
        best = [self.validation[self.trials[name] == x].max() for x in values]
        return values, np.array(best)


def train(
    loss: Callable[..., jax.Array],
    optimizer: optax.GradientTransformation,
    params: optax.Params,
    state: optax.OptState,
    batches: Any,
) -> tuple[optax.Params, optax.OptState]:
    """Parameters and optimizer state after a step on each batch (leading axis)."""

    def step(carry, batch):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), batches)[0]


def grid(**numbers: ArrayLike) -> dict[str, np.ndarray]:
    """Every combination of the numbers, shape (trials,) each."""
    mesh = np.meshgrid(*numbers.values(), indexing="ij")
    return {name: x.ravel() for name, x in zip(numbers, mesh, strict=True)}


def half_grid(**numbers: ArrayLike) -> dict[str, np.ndarray]:
    """Every second combination, as on a chessboard: each value equally often."""
    steps = grid(**{name: range(np.size(values)) for name, values in numbers.items()})
    black = sum(steps.values()) % 2 == 0
    return {name: x[black] for name, x in grid(**numbers).items()}


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
    tuned = _chosen(trials, np.asarray(scores))
    i = tuned.validation.argmax()
    return tuned._replace(outcome=jax.tree.map(lambda x: np.asarray(x)[i], outcomes))


def again(run: Callable[..., Any], tuned: Tuned, *per_seed: Any) -> Any:
    """Return what the best trial gives with other seeds; arguments as of `tune`."""
    best = {name: np.array([x]) for name, x in tuned.best.items()}
    return tune(run, best, *per_seed).outcome


def over_lanes(run: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """`run(held_out, **numbers)` for numbers of shape (lanes,) each, jitted."""
    return jax.jit(lambda held_out, **x: jax.vmap(partial(run, held_out))(**x))


def side_by_side(
    run: Callable[..., Any], points: Sequence[dict[str, float]], seeds: Sequence[int]
) -> Any:
    """Call `run` with lanes of every point and seed; return (points, seeds, ...)."""
    lanes = [{**point, "seed": seed} for point, seed in product(points, seeds)]
    tree = run(**{k: jnp.array([x[k] for x in lanes]) for k in lanes[0]})
    shape = len(points), len(seeds)
    return jax.tree.map(lambda x: np.asarray(x).reshape(*shape, *x.shape[1:]), tree)


def tune_then_test(
    validate: Callable[..., jax.Array],
    test: Callable[..., jax.Array],
    methods: dict[str, dict[str, np.ndarray]],
    seeds: Sequence[int],
    fresh: int,
    **others: float,
) -> dict[str, Tuned]:
    """Tune all methods side by side on `seeds`, then test the best on fresh ones.

    The test takes as many seeds as give the same number of lanes: one compilation.

    Args:
      validate: numbers and seeds, shape (lanes,) each -> scores, shape (lanes, ...).
      test: the same on other data; what it returns becomes each method's outcome.
      methods: the trials of each, as many for each.
      seeds: of the tuning.
      fresh: the first seed of the test.
      others: numbers of the trials that do not name them.
    """
    every = [point for trials in methods.values() for point in _points(trials)]
    points = [{**others, **point} for point in every]
    scores = np.split(side_by_side(validate, points, seeds), len(methods))
    tuned = {
        name: _chosen(trials, x)
        for (name, trials), x in zip(methods.items(), scores, strict=True)
    }
    best = [{**others, **t.best} for t in tuned.values()]
    fresh_seeds = range(fresh, fresh + len(points) * len(seeds) // len(methods))
    tested = side_by_side(test, best, fresh_seeds)
    return {
        name: t._replace(outcome=x)
        for (name, t), x in zip(tuned.items(), tested, strict=True)
    }


def choices(tuned: dict[str, Tuned], title: str = CHOSEN) -> str:
    """Return a Markdown list of what was chosen for each method."""
    lines = (f"- {name}: {t}, of {len(t.scores)} trials" for name, t in tuned.items())
    return f"{title}:\n\n" + "\n".join(lines) + "\n"


def choices_at(levels: dict[str, dict[str, Tuned]]) -> str:
    """Return what was chosen for each method, at each level."""
    return "\n".join(choices(t, f"Chosen at {level}") for level, t in levels.items())


def trial_records(
    title: str, tuned: dict[str, Tuned], first: int = 0
) -> list[records.Record]:
    """Return the raw rows of every trial, under the title of their choices."""
    return [
        row
        for name, t in tuned.items()
        for row in records.of_trials(
            title, "validation", name, t.trials, t.per_seed, first
        )
    ]


def best_records(
    table: str, tuned: dict[str, Tuned], scores: dict[str, np.ndarray], first: int = 0
) -> list[records.Record]:
    """Return the raw rows of each method's best, scores of shape (seeds,)."""
    chosen = {
        name: {number: np.array([x]) for number, x in t.best.items()}
        for name, t in tuned.items()
    }
    return [
        row
        for name, x in scores.items()
        for row in records.of_trials(table, "test", name, chosen[name], x[None], first)
    ]


def records_at(
    levels: dict[str, dict[str, Tuned]],
    scores: dict[str, dict[str, np.ndarray]],
    fresh: int,
    first: int = 0,
) -> list[records.Record]:
    """Return the raw rows of the trials and tests at each level, with first seeds."""
    raw = []
    for level, tuned in levels.items():
        raw += trial_records(f"Chosen at {level}", tuned, first)
        raw += best_records(level, tuned, scores[level], fresh)
    return raw


def outcomes(tuned: dict[str, Tuned]) -> dict[str, Any]:
    """Return the outcome of each method."""
    return {name: t.outcome for name, t in tuned.items()}


def draw(tuned: dict[str, Tuned], number: str, xlabel: str) -> Figure:
    """Draw the best validation accuracy at each value of `number`, for each method."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ylabel = "validation accuracy (fraction)"
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    values = np.concatenate([t.trials.get(number, []) for t in tuned.values()])
    if values.all():
        axes.set_xscale("log")
    else:  # 0 has a place of its own, below the smallest
        axes.set_xscale("symlog", linthresh=values[values > 0].min())
    for name, look in report.looks(tuned).items():
        t = tuned[name]
        if number in t.trials:
            axes.plot(*t.profile(number), label=name, **look)
        else:
            axes.axhline(t.validation.max(), color=look["color"], label=name)
    axes.legend()
    return figure


def _points(trials: dict[str, np.ndarray]) -> list[dict[str, float]]:
    return [
        dict(zip(trials, x, strict=True)) for x in zip(*trials.values(), strict=True)
    ]


def _chosen(trials: dict[str, np.ndarray], scores: np.ndarray) -> Tuned:
    tuned = Tuned(trials, scores, {}, None)
    best = np.nan_to_num(tuned.validation, nan=-np.inf).argmax()
    return tuned._replace(best=_points(trials)[best])


def _mark(chosen: float, values: np.ndarray) -> str:
    """Strengths end at 0, so that nothing is cut there."""
    if chosen == 0:
        return " (off)"
    return " (edge)" if chosen in (values.min(), values.max()) else ""
