"""The experiments that the command `speed` times; none is trained to its end."""

from dataclasses import replace

from benchmarks.experiments import classify, language
from benchmarks.experiments.experiment import Experiment
from benchmarks.tasks.classify import Images
from benchmarks.tasks.language import Text

STEPS = 20  # of an epoch, which is timed whole: two periods of the anchor

RESNET_64 = replace(
    classify.PAPER_CIFAR10,
    name="ResNet-18, width 64",
    problem=replace(classify.CIFAR10, dtype="float32", train=8 * STEPS),
)
RESNET_16 = replace(
    classify.PAPER_CIFAR10,
    name="ResNet-18, width 16",
    problem=replace(classify.CIFAR10, dtype="float32", train=8 * STEPS, channels=(16,)),
)
LANGUAGE = replace(
    language.LANGUAGE,
    name="transformer, 0.8M",
    problem=Text(shape="0.8M", context=64, windows=STEPS, dtype="float32"),
    batch_sizes=(1,),
)


def with_plain_convolutions(experiment: Experiment) -> Experiment:
    """Return an experiment whose residual network has XLA's own convolutions."""
    problem = experiment.problem
    assert isinstance(problem, Images)
    network = f"{problem.network}, plain convolutions"
    return replace(experiment, problem=replace(problem, network=network))
