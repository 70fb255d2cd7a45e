"""The experiments in label-to-photo synthesis, with all their numbers."""

from dataclasses import replace

from benchmarks.experiments.experiment import Experiment
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.label_to_photo import LabelToPhoto

CAMVID = LabelToPhoto(
    data="camvid",
    train=None,
    validation=None,
    test=None,
    size=64,
    width=8,
    dtype="float32",
    segmenter_width=16,
    segmenter_epochs=40,
)

GAN = Experiment(
    name="gan",
    question="Does the anchor steady the training of a conditional GAN, pix2pix from "
    "label maps to photos at batch 1?",
    cost="up to 36 minutes on 2 CPU cores",
    problem=CAMVID,
    groups=(
        (
            "Adam, its anchored forms and controls",
            (
                *("adam", "tradam", "tradamw"),
                *("adam, inner decay alone", "adam, weight average"),
            ),
        ),
    ),
    contrasts=(
        ("tradam", "adam, inner decay alone"),
        ("tradamw", "adam, inner decay alone"),
        ("tradamw", "tradam"),
    ),
    learning_rates=(2e-4, 6e-4, 2e-3),  # the first is the published one
    seeds=3,
    epochs=12,
    evaluate_every=4,
    batch_sizes=(1,),
    settings=Settings(momentum=0.5, weight_decay=0.0, period=10, b1=0.5),
    save_every=60.0,
)


def on_gpu(size: int) -> Experiment:
    """Return the experiment with the published networks and epochs, for a GPU."""
    return replace(
        GAN,
        name=f"gan-{size}",
        cost="not run",
        problem=replace(CAMVID, size=size, width=64, dtype="bfloat16"),
        epochs=200,
        evaluate_every=20,
    )


EXPERIMENTS = (GAN, on_gpu(128), on_gpu(256))
