"""What is timed on a machine; nothing is trained to its end."""

from dataclasses import replace

from benchmarks.experiments import images, text
from benchmarks.experiments.grid import Experiment
from benchmarks.tasks.classify import Images

RESNET_64 = replace(
    images.PAPER_CIFAR10,
    name="ResNet-18, width 64",
    problem=replace(images.CIFAR10, dtype="float32"),
    part=3,
)
RESNET_16 = replace(
    images.PAPER_CIFAR10,
    name="ResNet-18, width 16",
    problem=replace(images.CIFAR10, dtype="float32", channels=(16,)),
    part=15,
)
LANGUAGE = replace(text.LANGUAGE, name="transformer, 0.8M", batch_sizes=(1,), part=64)


def with_plain_convolutions(experiment: Experiment) -> Experiment:
    """The same residual network."""
    problem = experiment.problem
    assert isinstance(problem, Images)
    network = f"{problem.network}, plain convolutions"
    return replace(experiment, problem=replace(problem, network=network))
