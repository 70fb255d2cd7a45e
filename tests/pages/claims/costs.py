"""benchmarks/README.md: what an update costs, and how fast it is on a CPU."""

from functools import partial

import numpy as np

from claims.committed import (
    RESULTS,
    cells,
    csv,
    following,
)
from claims.pages import Claim
from prox_optax import _proximal

TRAFFIC = f"{RESULTS}/traffic/table.md"


def moved(target, optimizer):
    """Arrays at an ordinary and a re-anchoring step, temporaries, copies."""
    _, _, _, ordinary, anchoring, temporaries, copies, *_ = cells(
        TRAFFIC, target, optimizer
    )
    anchored = np.nan if anchoring == "-" else float(anchoring)
    return float(ordinary), anchored, float(temporaries), float(copies)


def launched():
    """Of Adam and SGD, bare and behind the pull; of Adam also with an int16 anchor."""

    def kernels(optimizer):
        return map(int, cells(TRAFFIC, "H100, H200", optimizer)[7].split(", "))

    (adam,), (sgd,) = kernels("adam"), kernels("sgd")
    ours = kernels("proximal, adam"), [*kernels("proximal, sgd")][:1]
    return adam, *ours[0], sgd, *ours[1], next(kernels("proximal int16, adam"))


TARGETS = "H100, H200", "v5e, v6e", "cpu"
FORMS = (("sgd", "trsgd"), ("sgd", "trsgdw"), ("adam", "tradam"), ("adam", "tradamw"))


def traffic_row(base, form):
    """Arrays moved bare, at an ordinary and at a re-anchoring step, on each target."""
    return tuple(
        x
        for target in TARGETS
        for x in (moved(target, base)[0], *moved(target, form)[:2])
    )


def most(place):
    """Return the most temporaries, or copies, of all forms on each target."""
    return tuple(
        max(moved(target, form)[place] for _, form in FORMS) for target in TARGETS
    )


def beyond_bare(target, optimizer, step=0):
    """Arrays more than bare."""
    base = optimizer.removeprefix("proximal int16, ").split(", ")[-1]
    return moved(target, optimizer)[step] - moved(target, base)[0]


def smaller():
    both = [f"proximal int16, {base}" for base in ("sgd", "adam")]
    gpu, tpu = "H100, H200", "v5e, v6e"
    for target in (gpu, tpu):
        for optimizer in both:
            assert f"{beyond_bare(target, optimizer):.1f}" == "0.5"
    return (
        max(beyond_bare(gpu, x, step=1) for x in both),
        max(beyond_bare(tpu, x, step=1) for x in both),
        max(moved(tpu, x)[2] for x in both),
        max(moved("cpu", x)[2] for x in both),
    )


def others():
    def extra(name, *targets):
        found = [
            beyond_bare(target, f"{name}, {base}")
            for target in targets
            for base in ("sgd", "adam")
        ]
        return min(found), max(found)

    devices = ("H100, H200", "v5e, v6e")
    averages = (extra("ema of weights", *devices), extra("ema of weights", "cpu"))
    assert all(f"{low:.1f}" == f"{most:.1f}" for low, most in averages)
    return (
        *extra("lookahead", *devices),
        *extra("lookahead", "cpu"),
        *(most for _, most in averages),
    )


def compile_times():
    def over(name, base):
        words = f"Compile time of {name}, {base} over {base} (GPT-2 small, cpu):"
        return following(TRAFFIC, words)

    anchored = [over("proximal", base) for base in ("sgd", "adam")]
    averages = [over("ema of weights", base) for base in ("sgd", "adam")]
    return (min(anchored), max(anchored), min(averages), max(averages))


def updates(column, tree=None):
    found = csv(f"{RESULTS}/speed/updates.csv")
    found = found[found.tree == tree] if tree else found
    return found[column].min(), found[column].max()


def bytes_over_bare(base, form):
    """Of a period of 10, on a CPU."""
    ordinary, anchoring, *_ = moved("cpu", form)
    return (0.9 * ordinary + 0.1 * anchoring) / moved("cpu", base)[0]


def step(network):
    found = csv(f"{RESULTS}/speed/steps.csv").set_index("network").loc[network]
    return found.ratio, found.ratio_low, found.ratio_high


TRANSFORMER, WIDE = "transformer, 0.8M", "ResNet-18, width 64"
NARROW = "ResNet-18, width 16"
SCANLESS = "processes, plain convolutions, a step a call"


def way(network, name, runs):
    """Examples a second, the least and the most."""
    found = csv(f"{RESULTS}/speed/ways.csv")
    found = found[(found.network == network) & (found.way == name)]
    found = found[found.runs == runs].iloc[0]
    return (
        found.examples_a_second,
        found.examples_a_second_low,
        found.examples_a_second_high,
    )


def lanes(network):
    found = csv(f"{RESULTS}/speed/ways.csv")
    found = found[(found.network == network) & (found.way == "lanes")]
    return found.examples_a_second


def outside():
    """Return what `outer` costs: arrays more than bare, and temporaries."""
    found = []
    for target in ("H100, H200", "cpu"):
        for base in ("sgd", "adam"):
            ordinary, step, temporaries, _ = moved(target, f"{base}, outer")
            bare = moved(target, base)[0]
            found.append((ordinary - bare, step - bare, temporaries))
    gpu, cpu = found[0], found[2]
    assert np.allclose(found, (gpu, gpu, cpu, cpu))
    assert gpu[0] == cpu[0]
    return gpu[0], gpu[1], cpu[1], gpu[2], cpu[2]


ROW = "{:.2f}, {:.2f}, {:.2f}"
CLAIMS = [
    *(
        Claim(
            f"| {base}, `{form}` | {ROW} | {ROW} | {ROW} |",
            partial(traffic_row, base, form),
        )
        for base, form in FORMS
    ),
    Claim("| temporaries | {:.0f} | {:.0f} | {:.0f} |", partial(most, 2)),
    Claim("| copies of the anchor | {:.0f} | {:.0f} | {:.0f} |", partial(most, 3)),
    Claim(
        "For the 148 arrays of GPT-2 small bare Adam launches {} and `proximal` before "
        "Adam {} ({} where the anchor is refreshed); bare SGD launches {}, with "
        "`proximal` {}.",
        lambda: launched()[:5],
    ),
    Claim("Adam launches {} kernels, and", lambda: launched()[5:]),
    Claim(
        "all arrays of up to {:,} elements an operand of two bytes",
        lambda: (_proximal._SMALL,),
    ),
    Claim(
        "re-anchoring then moves {:.1f} (TPU: up to {:.1f}) more than bare and needs "
        "temporaries of {:.1f} arrays on TPU and {:.1f} on CPU,",
        smaller,
    ),
    Claim(
        "So it moves {:.1f} arrays more than bare on CPU and GPU. An outer step of "
        "Nesterov momentum moves {:.1f} more than bare on GPU and {:.1f} on CPU, and "
        "the temporaries are {:.1f} and {:.1f} arrays.",
        outside,
    ),
    Claim(
        "Lookahead moves {:.1f} to {:.1f} more than bare on GPU and TPU and {:.0f} to "
        "{:.0f} more on CPU, an average of the weights {:.1f} and {:.1f} more.",
        others,
    ),
    Claim(
        "compiling takes {:.1f} to {:.1f} times as long as bare on CPU (148 leaves; an "
        "average of the weights, {:.1f} and {:.1f})",
        compile_times,
    ),
    Claim(
        "An update with the anchor takes {:.2f} to {:.2f} times as long as bare",
        lambda: updates("ours_to_bare"),
    ),
    Claim(
        "XLA's loops on a CPU move {:.0f} arrays instead of {:.0f} for SGD and {:.0f} "
        "instead of {:.0f} for Adam, with the re-anchoring {:.2f} and {:.2f} times as "
        "many bytes;",
        lambda: (
            *(moved("cpu", x)[0] for x in ("trsgd", "sgd", "tradam", "adam")),
            bytes_over_bare("sgd", "trsgd"),
            bytes_over_bare("adam", "tradam"),
        ),
    ),
    Claim(
        "takes {:.1f} to {:.1f} times as long as ours for GPT-2 small, {:.2f} and "
        "{:.2f} times for ResNet-50,",
        lambda: (
            *updates("torch_to_ours", "GPT-2 small"),
            *updates("torch_to_ours", "ResNet-50"),
        ),
    ),
    Claim(
        "A whole step takes {:.0f} % longer: ResNet-18 at batch 8 {:.3f} times ({:.3f} "
        "to {:.3f}), the transformer of 0.8 M parameters at batch 1 {:.3f} times "
        "({:.3f} to {:.3f}).",
        lambda: (100 * (step(WIDE)[0] - 1), *step(WIDE), *step(TRANSFORMER)),
    ),
    Claim(
        "16 replicas of the transformer make {:.0f} examples a second after one's "
        "{:.0f}, two processes {:.0f}.",
        lambda: tuple(
            way(TRANSFORMER, *x)[0]
            for x in (("lanes", 16), ("lanes", 1), ("processes", 2))
        ),
    ),
    Claim(
        "Two processes of ours make {:.0f} examples a second of the transformer, two "
        "of a plain PyTorch loop {:.0f}. Of ResNet-18 at width 16 ours make {:.0f} "
        "({:.0f} to {:.0f}), PyTorch's {:.0f} ({:.0f} to {:.0f}), at width 64 {:.0f} "
        "and {:.0f}:",
        lambda: (
            way(TRANSFORMER, "processes", 2)[0],
            way(TRANSFORMER, "PyTorch, processes", 2)[0],
            *way(NARROW, SCANLESS, 2),
            *way(NARROW, "PyTorch, processes", 2),
            way(WIDE, SCANLESS, 2)[0],
            way(WIDE, "PyTorch, processes", 2)[0],
        ),
    ),
    Claim(
        "({:.0f} examples a second at width 16, {:.1f} at 64), so replicas are matmuls "
        "of patches ({:.0f} to {:.0f} and {:.0f}). In processes that call a step at a "
        "time they are the fastest at width 16: {:.0f}, where patches in a scan make "
        "{:.0f}; at width 64 {:.0f} and {:.0f}.",
        lambda: (
            way(NARROW, "lanes, plain convolutions", 1)[0],
            way(WIDE, "lanes, plain convolutions", 1)[0],
            lanes(NARROW).min(),
            lanes(NARROW).max(),
            lanes(WIDE).max(),
            way(NARROW, SCANLESS, 2)[0],
            way(NARROW, "processes", 2)[0],
            way(WIDE, SCANLESS, 2)[0],
            way(WIDE, "processes", 2)[0],
        ),
    ),
]

COPIED = ()
EXEMPT = {
    "where 1.2 was aimed at": "a budget",
    "where 1.5 was aimed at": "a budget",
    "where 1.4 was aimed at": "a budget",
    "Of the passes that jax 0.10.2 runs": "a version",
    "runs for an H100 none": "the device's name",
}
