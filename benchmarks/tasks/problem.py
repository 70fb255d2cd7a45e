"""What the harness asks of a task: its numbers, its data, its losses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from flax import nnx

from benchmarks.records.score import Score, Wording
from benchmarks.training.task import Task


class DataSet(Protocol):
    """Three disjoint splits, pytrees of arrays, and a description for reports."""

    @property
    def train(self) -> Any: ...
    @property
    def validation(self) -> Any: ...
    @property
    def test(self) -> Any: ...
    @property
    def source(self) -> str: ...


class Problem(Protocol):
    """A frozen dataclass with the numbers of a task, which makes its data and losses.

    The fields stand in meta.json beside those of the experiment.

    Attributes:
      score: which measure chooses and judges, and how reports show the measures.
      measures: names of what the losses measure in training.
      data: names what is read.
      train: number of items to train on; None takes all.
    """

    measures: ClassVar[tuple[str, ...]]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def score(self) -> Score: ...
    @property
    def data(self) -> str: ...
    @property
    def train(self) -> int | None: ...

    def __hash__(self) -> int:
        """Tell problems apart by their numbers, as a frozen dataclass does."""

    def load(self, data_dir: Path | None) -> Any:
        """Read the data and return a `DataSet`.

        FileNotFoundError and ValueError say what to do.
        """

    def examples(self, data_set: Any) -> int:
        """Return the number of examples that an epoch shows."""

    def task(self, data_set: Any, batch_size: int) -> Task:
        """Return what the training loop calls. Its measures are the class's."""

    def references(self, data_set: Any) -> dict[str, dict[str, float]]:
        """Return measures on the test split that need no training, by their source."""

    def wording(self) -> Wording:
        """Return phrases for the reports."""

    def tiny(self) -> Self:
        """Return smaller numbers, with which the same code takes seconds."""

    def abstract(self) -> Any:
        """Return shapes and dtypes of (parameters by player, statistics).

        This needs no data.
        """


class Request(NamedTuple):
    """A request for text or pictures from trained networks.

    Attributes:
      folder: where the files go.
      data_dir: where the data set is, if the task needs it.
      seed: of what is random.
      prompt: text that is continued.
      length: number of bytes to write.
      temperature: of the softmax; 0 takes the most probable byte.
    """

    folder: Path
    data_dir: Path | None
    seed: int
    prompt: str
    length: int
    temperature: float


@runtime_checkable
class Sampler(Protocol):
    """A problem whose networks make text or pictures; their weights are kept."""

    def sample(self, weights: Mapping[str, Any], request: Request) -> list[Path]:
        """Write files and return their paths.

        Args:
          weights: (parameters by network, statistics), by condition and optimizer.
          request: what to write.
        """


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef[Any], Any, Any]:
    """Split a network into its structure, what is trained and what is not."""
    graph, params, *stats = nnx.split(model, nnx.Param, ...)
    return graph, params, stats[0]
