# %% [markdown]
# # Fine-tune without forgetting
#
# You have a trained network. It is to learn new data, and the data that it learned
# first may not be kept: a licence ends, or they are private. Plain fine-tuning forgets
# what is not trained any more.
#
# This notebook shows what to save while the old data are there, what to write when the
# new data come, and how to choose the strength. It takes seconds on a CPU, downloads
# nothing, and needs Flax, scikit-learn and Matplotlib.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from prox_optax import anchor_distance, decoupled_proximal, fisher_diagonal

RATE, BATCH, STEPS = 3e-3, 32, 400

# %% [markdown]
# ## Old data and new data
#
# The old data are small images of handwritten digits. The new ones are other digits,
# turned by a quarter, as from a scanner that was mounted the other way. Some of both
# are held back for the test.

# %%
data = load_digits()
order = np.random.default_rng(0).permutation(len(data.target))
images = jnp.asarray(data.images[order] / 16, jnp.float32)
labels = jnp.asarray(data.target[order], jnp.int32)
turned = jnp.rot90(images, axes=(1, 2))

old, new = (images[:700], labels[:700]), (turned[700:1400], labels[700:1400])
old_test, new_test = (images[1400:], labels[1400:]), (turned[1400:], labels[1400:])

_, axes = plt.subplots(2, figsize=(6, 1.6), layout="constrained")
for ax, name, shown in zip(axes, ("old", "new"), (old, new), strict=True):
    ax.imshow(np.hstack(np.pad(shown[0][:8], ((0, 0), (1, 1), (1, 1)))), cmap="gray_r")
    ax.set(ylabel=name, xticks=[], yticks=[])

# %% [markdown]
# ## The network that you have
#
# It is any NNX model. Nothing in its training knows that there will be other data.


# %%
class Network(nnx.Module):
    """Pixels -> hidden -> logits."""

    def __init__(self, rngs):
        self.body = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        """Return the logits of images, shape (..., 8, 8)."""
        pixels = images.reshape(*images.shape[:-2], 64)
        return self.head(nnx.relu(self.body(pixels)))


def loss(model, images, labels):
    """Return the mean cross-entropy."""
    logits = model(images)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def accuracy(model, data):
    """Return the fraction of correct labels."""
    images, labels = data
    return jnp.mean(model(images).argmax(axis=-1) == labels)


@nnx.jit
def step(model, optimizer, images, labels):
    """Update the model once."""
    optimizer.update(model, nnx.grad(loss)(model, images, labels))


def train(model, tx, data):
    """Train the model in place; return its optimizer."""
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    images, labels = data
    for rows in np.random.default_rng(1).integers(len(labels), size=(STEPS, BATCH)):
        step(model, optimizer, images[rows], labels[rows])
    return optimizer


def report(name, model):
    """Print the accuracy on the old and on the new test images."""
    kept, learned = accuracy(model, old_test), accuracy(model, new_test)
    print(f"{name:25} old digits {kept:.3f}   new digits {learned:.3f}")


model = Network(nnx.Rngs(0))
train(model, optax.adam(RATE), old)
report("trained on the old", model)

# %% [markdown]
# ## Before the old data go
#
# Ask which weights the old data need. That is the diagonal of the Fisher information:
# the mean square of the gradient of the log-likelihood, one number for each weight.
# `fisher_diagonal` takes the loss of *one* example. Here the network draws the label
# itself, from a key that stands beside each image, so this needs no labels.


# %%
def surprise(model, example):
    """Return the negative log-likelihood of a label that the model draws."""
    image, key = example
    log_p = jax.nn.log_softmax(model(image))
    return -log_p[jax.random.categorical(key, log_p)]


keys = jax.random.split(jax.random.key(0), len(old[1]))
fisher = fisher_diagonal(surprise, model, (old[0], keys))
del old  # all that is kept are the weights and this

entries = jnp.concatenate([f.ravel() for f in jax.tree.leaves(fisher)])
print("largest entry", f"{entries.max():.1e}", " median", f"{jnp.median(entries):.1e}")

# %% [markdown]
# A few weights matter much and most hardly at all. Save `fisher` beside the weights: it
# is as large as they are.
#
# ## When the new data come
#
# Plain fine-tuning first, to see the damage:

# %%
plain = nnx.clone(model)
train(plain, optax.adam(RATE), new)
report("fine-tuned, no anchor", plain)

# %% [markdown]
# Now with an anchor. Behind the optimizer stands a pull back to where the training
# began. `period=None` says that the anchor stays there, and `nnx.Optimizer` takes it
# when it is made: the model as it is. The strength is a tree, with a number for each
# weight. `learning_rate` lets the pull follow the optimizer's rate; a schedule will do
# too.

# %%
strength = jax.tree.map(lambda f: 1000 * f, fisher)
pull = decoupled_proximal(strength, period=None, learning_rate=RATE)
tx = optax.chain(optax.adam(RATE), pull)

pulled = nnx.clone(model)
optimizer = train(pulled, tx, new)
report("fine-tuned, with a pull", pulled)
distance = anchor_distance(optimizer.opt_state, nnx.state(pulled, nnx.Param))
print(f"moved away from the anchor by {distance.norm:.2f}")

# %% [markdown]
# The distance is worth a line in your log. Where it stays near zero the pull is so
# strong that nothing is learned.
#
# ## How strong, and would a lower rate do?
#
# A strength trades what is kept for what is learned, so draw the one against the other.
# And draw a control beside it: a lower learning rate moves the weights less, and so it
# forgets less too. A pull that lies on that line is not worth its memory.
#
# Strength and rate are numbers like any other, so one compiled program makes all runs
# of a sweep. A strength of zero is no pull.

# %%
graph, start = nnx.split(model)


@jax.jit
@jax.vmap
def kept_and_learned(size, rate):
    """Fine-tune once; return the accuracy on the old and on the new test images."""
    strength = jax.tree.map(lambda f: size * f, fisher)
    pull = decoupled_proximal(strength, period=None, learning_rate=rate)
    tx = optax.chain(optax.adam(rate), pull)

    def loss_of(params, images, labels):
        return loss(nnx.merge(graph, params), images, labels)

    def update(carry, rows):
        params, state = carry
        grads = jax.grad(loss_of)(params, *(x[rows] for x in new))
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    rows = jax.random.randint(jax.random.key(2), (STEPS, BATCH), 0, len(new[1]))
    (params, _), _ = jax.lax.scan(update, (start, tx.init(start)), rows)
    tuned = nnx.merge(graph, params)
    return accuracy(tuned, old_test), accuracy(tuned, new_test)


strengths = jnp.geomspace(1, 30_000, 10)
rates = RATE * jnp.geomspace(0.01, 1, 10)
by_strength = kept_and_learned(strengths, jnp.full(10, RATE))
by_rate = kept_and_learned(jnp.zeros(10), rates)

for title, sizes, (kept, learned) in (
    ("strength", strengths, by_strength),
    ("rate", rates, by_rate),
):
    print(f"{title:>10}   kept   learned")
    for row in zip(sizes, kept, learned, strict=True):
        print("{:10.2g}  {:.3f}     {:.3f}".format(*row))

# %%
_, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name, style, (kept, learned) in (
    ("a pull weighted by Fisher", "^-", by_strength),
    ("a lower rate alone", "o--", by_rate),
):
    ax.plot(learned, kept, style, label=name)
ax.axhline(accuracy(model, old_test), color="gray", linestyle=":", label="before")
ax.set_xlabel("learned: accuracy on the new digits")
ax.set_ylabel("kept: accuracy on the old digits")
_ = ax.legend(loc="lower left")

# %% [markdown]
# The further to the upper right a line runs, the better. Of all settings that learned
# the new digits well, which kept the most of the old ones?


# %%
def most_kept(kept, learned):
    """Return the most that was kept where more than 0.9 was learned."""
    return kept[learned > 0.9].max()


with_pull, lower_rate = most_kept(*by_strength), most_kept(*by_rate)
print(f"kept: {with_pull:.3f} with the pull, {lower_rate:.3f} with a lower rate alone")
assert with_pull > lower_rate + 0.05

# %% [markdown]
# ## What to expect, and when to leave it
#
# - **Expect** to forget much less on data like these. This notebook is one network and
#   one order of batches. The [same picture over ten
#   networks](../../examples/results/finetune_forget_less.md) has intervals, and [Which
#   anchor do I need?](../which_anchor.md#the-old-data-are-gone) has tuned comparisons
#   with other methods, where it won and where it lost.
# - **Choose the strength** on validation data of both tasks, and look over several
#   decades: the best one depends on the size of the Fisher information. If not even old
#   validation data may be kept, choose it before they go, with a task that is like the
#   new one.
# - **Leave it** where some old data may be kept: mix them into the batches. Leave it
#   where only the new task counts. On three texts an average of old and new weights
#   [kept more](../evidence.md#where-it-loses), so try that beside it.
#
# [The recipe](../recipes/forget_less.md) goes on from here: the Fisher information from
# Adam's own state, several tasks one after the other, the old network as a teacher.
