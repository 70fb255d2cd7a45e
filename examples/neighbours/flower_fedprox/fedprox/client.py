"""A client: trains on its own digits, pulled to the server's model."""

import os
import signal

import numpy as np
import optax
from flax import nnx
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedprox import digits
from prox_optax import anchor_distance, proximal, set_anchor

app = ClientApp()


@nnx.jit
def step(network, optimizer, pixels, labels):
    """Update the network once."""
    loss, grads = nnx.value_and_grad(digits.loss)(network, pixels, labels)
    optimizer.update(network, grads)
    return loss


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train for some steps from the server's arrays, and send what came out."""
    config, sent = context.run_config, message.content["config"]
    me, clients = (context.node_config[k] for k in ("partition-id", "num-partitions"))

    if sent["server-round"] == context.node_config.get("dies-in-round"):
        os.kill(os.getpid(), signal.SIGKILL)  # to show what a crash does

    pull = proximal(sent["proximal-mu"] / 2, period=None)  # mu / 2 ||w - w_t||^2
    tx = optax.chain(pull, optax.sgd(config["learning-rate"]))
    network = digits.Network()
    optimizer = nnx.Optimizer(network, tx, wrt=nnx.Param)
    digits.load(network, message.content["arrays"])
    server = nnx.state(network, nnx.Param)
    optimizer.opt_state = set_anchor(optimizer.opt_state, server)

    pixels, labels = digits.images_of(me, clients)
    random = np.random.default_rng((me, sent["server-round"]))
    for rows in random.integers(len(labels), size=(config["steps"], 32)):
        loss = step(network, optimizer, pixels[rows], labels[rows])

    params = nnx.state(network, nnx.Param)
    metrics = {
        "num-examples": len(labels),
        "loss": float(loss),
        "anchor-distance": float(anchor_distance(optimizer.opt_state, params).norm),
    }
    content = {"arrays": digits.to_record(network), "metrics": MetricRecord(metrics)}
    return Message(RecordDict(content), reply_to=message)
