"""The score by which a task is judged and the words of its reports, for meta.json."""

from typing import Any, NamedTuple


class Score(NamedTuple):
    """The measure by which trials are chosen and optimizers compared.

    Attributes:
      name: of the measure, such as "accuracy".
      labels: the axis label of every measure of an evaluation, by name and in order.
      higher: whether more is better.
      tolerance: how much worse than the best is still usable.
      failed: a run that ends worse than this has failed.
      axis: the lowest and the highest value that a figure shows.
      zoom: how far from the best the enlarged part of a figure reaches.
      besides: other measures whose test values stand in the tables.
    """

    name: str
    labels: dict[str, str]
    higher: bool
    tolerance: float
    failed: float
    axis: tuple[float, float]
    zoom: float
    besides: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return the name as it is read."""
        return words(self.name)

    def gain(self, values: Any) -> Any:
        """Return scores as gains: negated where less is better."""
        return values if self.higher else -values


class Wording(NamedTuple):
    """The phrases that a task puts into its reports.

    Attributes:
      items: what the data consist of, in the plural.
      setting: the splits and the network, a sentence in as many lines as it takes.
      sampling_error: what a test set of this size leaves open, to end a sentence.
      failures: how a run that is not finite is scored, a sentence.
      near: what is usable, to follow "within" and precede "of the best".
      zoomed: title of the enlarged part of a figure.
    """

    items: str
    setting: str
    sampling_error: str
    failures: str
    near: str
    zoomed: str


def words(name: str) -> str:
    """Return a measure's name as it is read."""
    return name.replace("_", " ")


def count(number: int, noun: str) -> str:
    """Write a number with its noun, in the plural if need be."""
    return f"{number} {noun}" + ("s" if number != 1 else "")
