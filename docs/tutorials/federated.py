# %% [markdown]
# # Federated training with Flower
#
# Several clients hold data that may not leave them. In each round a server sends them
# its model, every client trains it on its own data, and the server averages what comes
# back. Where the data of the clients differ, their models run apart within a round.
# FedProx pulls each of them to the model that the server sent
# ([1812.06127](https://arxiv.org/abs/1812.06127)).
#
# [Flower](https://flower.ai) has the server's half, the strategy `FedProx`, and leaves
# the pull to the client. This notebook writes the client, runs a few rounds, and looks
# at what the pull does. It takes seconds on a CPU, downloads nothing, and needs
# `pip install 'flwr>=1.42,<1.43' flax scikit-learn matplotlib`.

# %%
import logging
from functools import cache

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedProx
from flwr.supercore.task_identity import TaskIdentity
from sklearn.datasets import load_digits

from prox_optax import anchor_distance, proximal, set_anchor

logging.getLogger("flwr").setLevel(logging.ERROR)  # it logs each round
ROUNDS, STEPS, BATCH, RATE = 8, 40, 32, 0.3

# %% [markdown]
# ## Data that differ
#
# One client has the digits zero to four, the other five to nine. Neither of them alone
# sees all ten.

# %%
data = load_digits()
order = np.random.default_rng(0).permutation(len(data.target))
images = (data.data[order] / 16).astype("float32")
labels = data.target[order].astype("int32")
test, train = (images[:360], labels[:360]), (images[360:], labels[360:])

small = train[1] < 5
clients = [tuple(x[own] for x in train) for own in (small, ~small)]
for i, (_, own) in enumerate(clients):
    print(f"client {i}: {len(own)} images of", *np.unique(own))

# %% [markdown]
# ## The network, and what is sent
#
# Flower sends lists of arrays. The parameters of an NNX model become one, and are set
# from one.


# %%
class Network(nnx.Module):
    """Pixels -> hidden -> logits."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.body = nnx.Linear(64, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        """Return the logits."""
        return self.head(nnx.relu(self.body(images)))


def loss(model, images, labels):
    """Return the mean cross-entropy."""
    logits = model(images)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def step(model, optimizer, images, labels):
    """Update the model once."""
    optimizer.update(model, nnx.grad(loss)(model, images, labels))


def to_record(model):
    """Return the parameters as Flower sends them."""
    return ArrayRecord([np.asarray(x) for x in jax.tree.leaves(params_of(model))])


def load(model, record):
    """Set the parameters to those that Flower sent."""
    structure = jax.tree.structure(params_of(model))
    nnx.update(model, jax.tree.unflatten(structure, record.to_numpy_ndarrays()))


def params_of(model):
    """Return the parameters as a tree."""
    return nnx.state(model, nnx.Param)


# %% [markdown]
# ## The client
#
# Three lines make it FedProx, and they are marked. The pull stands in front of SGD with
# half of the published `mu`, as the published penalty is half of `mu` times the squared
# distance. The anchor is the model that the server sent. The distance that the client
# has moved from it goes back among the metrics.
#
# The strategy sends `proximal-mu` in each round. The optimizer is made once for each
# value of it, so that JAX compiles the step once and not in every round.

# %%
client = ClientApp()


@cache
def pulled_sgd(mu):
    """Return SGD with a pull of this strength."""
    return optax.chain(proximal(mu / 2, period=None), optax.sgd(RATE))  # 1


@client.train()
def train_here(message, context):
    """Train for some steps from the server's model; send back what came out."""
    me, sent = context.node_config["partition-id"], message.content["config"]
    model = Network()
    optimizer = nnx.Optimizer(model, pulled_sgd(sent["proximal-mu"]), wrt=nnx.Param)
    load(model, message.content["arrays"])
    optimizer.opt_state = set_anchor(optimizer.opt_state, params_of(model))  # 2

    images, labels = clients[me]
    random = np.random.default_rng((me, sent["server-round"]))
    for rows in random.integers(len(labels), size=(STEPS, BATCH)):
        step(model, optimizer, images[rows], labels[rows])

    distance = anchor_distance(optimizer.opt_state, params_of(model)).norm  # 3
    metrics = {"num-examples": len(labels), "anchor-distance": float(distance)}
    content = {"arrays": to_record(model), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)


# %% [markdown]
# ## The server, in this process
#
# `flwr run` starts processes for the server and the clients, and messages travel
# between them. A notebook is one process. So one part is replaced here, what carries
# the messages: it calls the client instead. The strategy, the client and the messages
# are Flower's own. Messages also carry the numbers of the process that sends them,
# which `flwr run` gives. `TaskIdentity`, which holds them, is no public name of Flower:
# a later version may want another line here. A Flower app does not need it.

# %%
TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1


class Here:
    """Stand in for Flower's Grid: call the client for each message, one by one."""

    def get_node_ids(self):
        """Return a number for each client."""
        return range(len(clients))

    def send_and_receive(self, messages, *, timeout):
        """Return the replies of the clients."""
        return [client(x, self.context(x.metadata.dst_node_id)) for x in messages]

    def context(self, node):
        """Return what a client knows of itself."""
        return Context(1, node, {"partition-id": node}, RecordDict(), {})


def run(mu):
    """Return the test accuracy and how far the clients moved, after each round."""
    model = Network()

    def test_accuracy(server_round, arrays):
        load(model, arrays)
        correct = model(test[0]).argmax(axis=1) == test[1]
        return MetricRecord({"test-accuracy": float(jnp.mean(correct))})

    strategy = FedProx(proximal_mu=mu, fraction_evaluate=0.0)
    start = to_record(model)
    result = strategy.start(Here(), start, ROUNDS, evaluate_fn=test_accuracy)
    moved, tested = result.train_metrics_clientapp, result.evaluate_metrics_serverapp
    each = range(1, ROUNDS + 1)
    accuracy = [tested[i]["test-accuracy"] for i in each]
    return accuracy, [moved[i]["anchor-distance"] for i in each]


found = {mu: run(mu) for mu in (0.0, 0.1, 1.0)}
for mu, (accuracy, distance) in found.items():
    print(f"mu = {mu}")
    print("  accuracy ", *map("{:.2f}".format, accuracy))
    print("  moved by ", *map("{:.2f}".format, distance))

# %%
_, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for (mu, curves), style in zip(found.items(), ("o--", "s-.", "^-"), strict=True):
    for ax, curve in zip(axes, curves, strict=True):
        ax.plot(range(1, ROUNDS + 1), curve, style, label=f"mu = {mu}", markersize=4)
axes[0].legend()
for ax, label in zip(axes, ("test accuracy", "mean distance moved"), strict=True):
    ax.set(xlabel="round", ylabel=label)

# %% [markdown]
# The pull does what it promises: the larger `mu`, the less the clients move in each
# round. It does not make the model better here. With a weak pull it ends where it ends
# without one. With a strong pull it learns more slowly, as it would if the rounds were
# shorter.

# %%
accuracy, moved = (np.array(x) for x in zip(*found.values(), strict=True))
assert (np.diff(moved, axis=0) < 0).all()
without, weak, strong = accuracy[:, -1]
assert abs(weak - without) < 0.05 < without - strong
print(f"last accuracy: no pull {without:.2f}, weak {weak:.2f}, strong {strong:.2f}")

# %% [markdown]
# ## What to expect, and when to leave it
#
# - **Expect** little of the pull once the learning rate is tuned. In our comparison
#   tuning turned it off, with no late clients and with many; what paid was to keep
#   the work of these ([table](../../examples/results/federated_fedprox.md)).
# - **Log the distance.** It says which clients run away. Where `mu` is zero it is
#   measured all the same.
# - **Keep `mu` times the learning rate well below two.** Above that the pull in the
#   gradient overshoots the anchor and diverges. The decoupled pull behind the optimizer
#   never does ([how to write it](../which_anchor.md#a-servers-model)).
# - **Leave it** where rounds are short and the rate is tuned.
#
# [The recipe](../recipes/flower.md) has the same client as a Flower app: processes of
# their own, one that dies, and what to do on several machines.
