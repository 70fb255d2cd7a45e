"""The losses of pix2pix: those of a discriminator and of a generator."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data.augment import jitter
from benchmarks.data.pairs import Pairs
from benchmarks.models.pix2pix import initial_params
from benchmarks.tasks import similarity
from benchmarks.tasks.segmentation import (
    HeldOut,
    Measures,
    SegmenterConfig,
    score_photos,
    signed,
)
from benchmarks.training.task import Task, shuffled

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
L1_WEIGHT = 100.0
MEASURES = ("discriminator_loss", "real", "fake", "adversarial_loss", "l1")

MakeNetworks = Mapping[str, Callable[[nnx.Rngs], nnx.Module]]
"""Functions that build the discriminator and the generator, by these names."""


class FakeLogits(NamedTuple):
    """The discriminator's logits of synthesised photos in an epoch so far.

    Attributes:
      steps: int32, number of steps.
      total: float32, sum of the steps' means over the patches.
      squares: float32, sum of the squares of those means.
    """

    steps: jax.Array
    total: jax.Array
    squares: jax.Array

    def swing(self) -> jax.Array:
        """Compute the standard deviation of the means over the steps."""
        mean = self.total / self.steps
        return jnp.sqrt(jnp.maximum(self.squares / self.steps - mean**2, 0))


def add_step(logits: FakeLogits, mean: jax.Array, steps_an_epoch: int) -> FakeLogits:
    """Add a step's mean; start anew after the last step of an epoch."""
    ended = logits.steps == steps_an_epoch
    steps, total, squares = (jnp.where(ended, jnp.zeros_like(x), x) for x in logits)
    return FakeLogits(steps + 1, total + mean, squares + mean**2)


def initial_gan(make: MakeNetworks, key: jax.Array) -> tuple[dict[str, Any], Any]:
    """Return initial parameters by network, and logits of no steps."""
    params = {
        name: initial_params(make_one, jax.random.fold_in(key, number))
        for number, (name, make_one) in enumerate(make.items())
    }
    return params, FakeLogits(jnp.int32(0), jnp.float32(0), jnp.float32(0))


class Gan(NamedTuple):
    """The structures of a discriminator and a generator.

    Attributes:
      graphs: the structures by network.
      classes: number of classes of the label maps.
    """

    graphs: dict[str, nnx.GraphDef[Any]]
    classes: int

    def generate(self, params: Any, labels: jax.Array, key: jax.Array) -> jax.Array:
        """Return photos in [-1, 1]; the key draws the dropout."""
        model = nnx.merge(self.graphs[GENERATOR], params[GENERATOR], copy=True)
        return model(jax.nn.one_hot(labels, self.classes), key)

    def discriminate(
        self, params: Any, labels: jax.Array, photos: jax.Array
    ) -> jax.Array:
        """Return a logit for each patch, positive for real."""
        model = nnx.merge(self.graphs[DISCRIMINATOR], params[DISCRIMINATOR], copy=True)
        return model(jax.nn.one_hot(labels, self.classes), photos)


def gan_of(make: MakeNetworks, classes: int) -> Gan:
    """Return the structures of networks, without computing their parameters."""

    def graph(make_one: Callable[[nnx.Rngs], nnx.Module]) -> nnx.GraphDef[Any]:
        return nnx.split(nnx.eval_shape(lambda: make_one(nnx.Rngs(0))))[0]

    return Gan({name: graph(make_one) for name, make_one in make.items()}, classes)


def pix2pix(
    make: MakeNetworks, config: SegmenterConfig, examples: int, batch_size: int
) -> Task:
    """Return the task: in a step the discriminator learns, then the generator.

    The discriminator's loss is halved. The generator's loss includes 100 times the L1
    distance to the true photos.

    Args:
      make: builds the discriminator and the generator.
      config: of the segmenter that scores the photos.
      examples: size of the train split.
      batch_size: pairs a step.
    """
    gan = gan_of(make, config.classes)

    def batch(
        params: Any, pairs: Pairs, index: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return label maps, true and synthesised photos, the same for both losses."""
        crop, drop = jax.random.split(key)
        labels, true = jitter(crop, pairs.labels[index], signed(pairs.photos[index]))
        return labels, true, gan.generate(params, labels, drop)

    def discriminator(
        params: Any, logits: FakeLogits, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[FakeLogits, Measures]]:
        labels, true, made = batch(params, pairs, index, key)
        twice, both = (jnp.concatenate(x) for x in ((labels, labels), (true, made)))
        real, fake = jnp.split(gan.discriminate(params, twice, both), 2)
        loss = (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2
        measures = {
            "discriminator_loss": loss,
            "real": real.mean(),
            "fake": fake.mean(),
        }
        logits = add_step(logits, measures["fake"], examples // batch_size)
        return loss, (logits, measures)

    def generator(
        params: Any, logits: FakeLogits, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[FakeLogits, Measures]]:
        labels, true, made = batch(params, pairs, index, key)
        adversarial = cross_entropy(gan.discriminate(params, labels, made), 1.0)
        distance = similarity.l1(made, true)
        # A measure is a distance in [0, 1], photos here are in [-1, 1].
        measures = {"adversarial_loss": adversarial, "l1": distance / 2}
        return adversarial + L1_WEIGHT * distance, (logits, measures)

    def evaluate(params: Any, logits: FakeLogits, held_out: HeldOut) -> Measures:
        def make_photo(
            index: jax.Array, labels: jax.Array, photo: jax.Array
        ) -> tuple[jax.Array, Measures]:
            key = jax.random.fold_in(jax.random.key(0), index)
            made = gan.generate(params, labels[None], key)[0]
            both, twice = jnp.stack([photo, made]), jnp.stack([labels, labels])
            real, fake = gan.discriminate(params, twice, both)
            return made, {"real": real.mean(), "fake": fake.mean()}

        return score_photos(config, held_out, make_photo) | {"swing": logits.swing()}

    return Task(
        lambda key: initial_gan(make, key),
        shuffled(examples, batch_size),
        {DISCRIMINATOR: discriminator, GENERATOR: generator},
        evaluate,
        MEASURES,
    )


def cross_entropy(logits: jax.Array, real: float) -> jax.Array:
    """Average over patches that are all real (1) or all synthesised (0)."""
    targets = jnp.full_like(logits, real)
    return optax.losses.sigmoid_binary_cross_entropy(logits, targets).mean()
