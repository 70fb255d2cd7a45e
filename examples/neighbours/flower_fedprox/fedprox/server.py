"""The server: Flower's own FedProx strategy."""

import jax.numpy as jnp
from flwr.app import Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedProx

from fedprox import digits

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds, and test the model after each."""
    config, network = context.run_config, digits.Network()
    pixels, labels = digits.test_images()

    def test(server_round, arrays):
        digits.load(network, arrays)
        correct = network(pixels).argmax(axis=1) == labels
        return MetricRecord({"test-accuracy": float(jnp.mean(correct))})

    strategy = FedProx(proximal_mu=config["mu"], fraction_evaluate=0.0)
    strategy.start(grid, digits.to_record(network), config["rounds"], evaluate_fn=test)
