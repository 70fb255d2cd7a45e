"""The losses of pix2pix: a discriminator and a generator that take turns."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from benchmarks.data.augment import jitter
from benchmarks.data.pairs import Pairs
from benchmarks.models.pix2pix import initial
from benchmarks.tasks import similarity
from benchmarks.tasks.segmentation import Found, HeldOut, Reader, judge, signed
from benchmarks.training.task import Task, shuffled

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
L1_WEIGHT = 100.0
MEASURES = ("discriminator_loss", "real", "fake", "adversarial_loss", "l1")

Networks = Mapping[str, Callable[[nnx.Rngs], nnx.Module]]
"""How to make each player's."""


class Outcomes(NamedTuple):
    """The discriminator's logits of synthesised photos in an epoch so far.

    Attributes:
      steps: int32.
      total: float32, sum of the steps' means over the patches.
      squares: float32, sum of the squares of those means.
    """

    steps: jax.Array
    total: jax.Array
    squares: jax.Array

    def swing(self) -> jax.Array:
        """The standard deviation over the steps."""
        mean = self.total / self.steps
        return jnp.sqrt(jnp.maximum(self.squares / self.steps - mean**2, 0))


def follow(outcomes: Outcomes, mean: jax.Array, of_epoch: int) -> Outcomes:
    """With one more step; after those of an epoch it begins anew."""
    ended = outcomes.steps == of_epoch
    steps, total, squares = (jnp.where(ended, jnp.zeros_like(x), x) for x in outcomes)
    return Outcomes(steps + 1, total + mean, squares + mean**2)


def start(networks: Networks, key: jax.Array) -> tuple[dict[str, Any], Outcomes]:
    """Parameters by player, and no outcomes yet."""
    params = {
        player: initial(make, jax.random.fold_in(key, number))
        for number, (player, make) in enumerate(networks.items())
    }
    return params, Outcomes(jnp.int32(0), jnp.float32(0), jnp.float32(0))


class Players(NamedTuple):
    """The structures of both networks.

    Attributes:
      graphs: by player.
      classes: of the label maps.
    """

    graphs: dict[str, nnx.GraphDef[Any]]
    classes: int

    def generate(self, params: Any, labels: jax.Array, key: jax.Array) -> jax.Array:
        """Photos in [-1, 1]; the key draws the dropout."""
        model = nnx.merge(self.graphs[GENERATOR], params[GENERATOR], copy=True)
        return model(jax.nn.one_hot(labels, self.classes), key)

    def discriminate(
        self, params: Any, labels: jax.Array, photos: jax.Array
    ) -> jax.Array:
        """A logit for each patch, positive for real."""
        model = nnx.merge(self.graphs[DISCRIMINATOR], params[DISCRIMINATOR], copy=True)
        return model(jax.nn.one_hot(labels, self.classes), photos)


def players_of(networks: Networks, classes: int) -> Players:
    def graph(make: Callable[[nnx.Rngs], nnx.Module]) -> nnx.GraphDef[Any]:
        return nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))[0]

    return Players({name: graph(make) for name, make in networks.items()}, classes)


def pix2pix(networks: Networks, reader: Reader, examples: int, batch_size: int) -> Task:
    """The discriminator's loss is halved, the generator's has 100 times L1 in it.

    Args:
      networks: of the two players.
      reader: the network that judges the photos.
      examples: size of the train split.
      batch_size: pairs a step.
    """
    players = players_of(networks, reader.classes)

    def batch(
        params: Any, pairs: Pairs, index: jax.Array, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Label maps, true and synthesised photos: the same for both players."""
        crop, drop = jax.random.split(key)
        labels, true = jitter(crop, pairs.labels[index], signed(pairs.photos[index]))
        return labels, true, players.generate(params, labels, drop)

    def discriminator(
        params: Any, outcomes: Outcomes, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Outcomes, Found]]:
        labels, true, made = batch(params, pairs, index, key)
        twice, both = (jnp.concatenate(x) for x in ((labels, labels), (true, made)))
        real, fake = jnp.split(players.discriminate(params, twice, both), 2)
        loss = (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)) / 2
        found = {
            "discriminator_loss": loss,
            "real": real.mean(),
            "fake": fake.mean(),
        }
        outcomes = follow(outcomes, found["fake"], examples // batch_size)
        return loss, (outcomes, found)

    def generator(
        params: Any, outcomes: Outcomes, pairs: Pairs, index: Any, key: jax.Array
    ) -> tuple[jax.Array, tuple[Outcomes, Found]]:
        labels, true, made = batch(params, pairs, index, key)
        fake = players.discriminate(params, labels, made)
        adversarial = cross_entropy(fake, 1.0)
        distance = similarity.l1(made, true)
        found = {"adversarial_loss": adversarial, "l1": distance / 2}  # of [0, 1]
        return adversarial + L1_WEIGHT * distance, (outcomes, found)

    def evaluate(params: Any, outcomes: Outcomes, held_out: HeldOut) -> Found:
        def make(
            index: jax.Array, labels: jax.Array, photo: jax.Array
        ) -> tuple[jax.Array, Found]:
            key = jax.random.fold_in(jax.random.key(0), index)
            made = players.generate(params, labels[None], key)[0]
            both, twice = jnp.stack([photo, made]), jnp.stack([labels, labels])
            real, fake = players.discriminate(params, twice, both)
            return made, {"real": real.mean(), "fake": fake.mean()}

        return judge(reader, held_out, make) | {"swing": outcomes.swing()}

    return Task(
        lambda key: start(networks, key),
        shuffled(examples, batch_size),
        {DISCRIMINATOR: discriminator, GENERATOR: generator},
        evaluate,
        MEASURES,
    )


def cross_entropy(logits: jax.Array, real: float) -> jax.Array:
    """Mean over the patches, all of them real or all not."""
    targets = jnp.full_like(logits, real)
    return optax.losses.sigmoid_binary_cross_entropy(logits, targets).mean()
