"""What a task is to the harness: its numbers, its data, its losses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from flax import nnx

from benchmarks.records.score import Score, Wording
from benchmarks.training.task import Task


class DataSet(Protocol):
    """Three disjoint splits, pytrees of arrays, and what was read, for reports."""

    @property
    def train(self) -> Any: ...
    @property
    def validation(self) -> Any: ...
    @property
    def test(self) -> Any: ...
    @property
    def source(self) -> str: ...


class Problem(Protocol):
    """The numbers of a task, in a frozen dataclass: how to make its data and functions.

    Its fields stand in meta.json beside those of the experiment. `data` names what is
    read, `train` is how many of its items to train on; None takes all.
    """

    score: ClassVar[Score]
    measures: ClassVar[tuple[str, ...]]

    @property
    def data(self) -> str: ...
    @property
    def train(self) -> int | None: ...

    def load(self, data_dir: Path | None) -> Any:
        """The `DataSet`; FileNotFoundError and ValueError say what to do."""

    def examples(self, data_set: Any) -> int:
        """Of an epoch."""

    def task(self, data_set: Any, batch_size: int) -> Task:
        """What the loop calls. Its measures are the class's."""

    def references(self, data_set: Any) -> dict[str, dict[str, float]]:
        """Measures on the test split that need no training, by what reaches them."""

    def wording(self) -> Wording:
        """Phrases of the reports."""

    def tiny(self) -> Self:
        """The same code in a few seconds."""


class Request(NamedTuple):
    """What is to be sampled.

    Attributes:
      folder: where the files go.
      data_dir: where the data set is, if it is needed.
      seed: of what is random.
      prompt: text to go on from.
      length: bytes to write.
      temperature: of the softmax; 0 takes the most probable.
    """

    folder: Path
    data_dir: Path | None
    seed: int
    prompt: str
    length: int
    temperature: float


@runtime_checkable
class Sampler(Protocol):
    """A problem whose trained networks make something; their weights are kept."""

    def abstract(self) -> Any:
        """Shapes and dtypes of (parameters by player, statistics), without data."""

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        """The files written, from (parameters, statistics) by condition and label."""


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef[Any], Any, Any]:
    """The structure, what is trained and what is not."""
    graph, params, *stats = nnx.split(model, nnx.Param, ...)
    return graph, params, stats[0]
