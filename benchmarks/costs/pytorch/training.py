"""Training in PyTorch as a user writes it: one network, a Python loop over steps."""

from collections.abc import Callable

import jax
import torch
from torch import nn

from benchmarks.costs.pytorch import models
from benchmarks.experiments import Experiment
from benchmarks.models.transformer import BYTES
from benchmarks.runs import grid
from benchmarks.tasks.classify import Images
from benchmarks.tasks.language import Text


def training_call(experiment: Experiment, steps: int) -> Callable[[], list[None]]:
    """Return a call that makes so many steps on one batch; it reads no data."""
    device = torch.device("cpu" if jax.default_backend() == "cpu" else "cuda")
    model, inputs, labels = (x.to(device) for x in network(experiment))
    optimizer = first_optimizer(experiment, model)
    loss_of = nn.CrossEntropyLoss()
    assert isinstance(experiment.problem, Images | Text)
    half = experiment.problem.dtype == "bfloat16"

    def call() -> list[None]:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = loss_of(model(inputs).flatten(0, -2), labels.flatten())
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return []

    return call


def network(experiment: Experiment) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return the network of an experiment, and a batch of inputs and labels."""
    problem, batch = experiment.problem, experiment.batch_sizes[0]
    if isinstance(problem, Images):
        images = torch.randn(batch, 3, 32, 32)
        model = models.resnet18(problem.channels[0])
        return model, images, torch.randint(10, (batch,))
    assert isinstance(problem, Text)
    text = torch.randint(BYTES, (batch, problem.context + 1))
    model = models.Transformer(problem.shape, problem.context)
    return model, text[:, :-1], text[:, 1:]


def first_optimizer(experiment: Experiment, model: nn.Module) -> torch.optim.Optimizer:
    """Return the first optimizer of an experiment at its first learning rate."""
    s, name = experiment.settings, experiment.optimizers[0]
    rate, *_ = grid.numbers(experiment, name)["learning_rate"]
    params, decay = model.parameters(), s.weight_decay
    if name == "sgd":
        return torch.optim.SGD(params, rate, s.momentum, weight_decay=decay)
    return torch.optim.Adam(params, rate, (s.b1, s.b2), weight_decay=decay)
