"""The section "On one GPU" of benchmarks/README.md."""

from claims.committed import RESULTS, csv, meta, run
from claims.differences import CIFAR, WIDTH_16
from claims.pages import Claim

LARGE, SMALL = "GPT-2 small", "ResNet-50"
ARRAYS = {LARGE: 148, SMALL: 60}  # leaves, as in the table of traffic
GPU = f"{RESULTS}/gpu/meta.json"
HALTED = 190  # seconds; noted by hand


def kernels(**where):
    found = csv(f"{RESULTS}/gpu/kernel.csv")
    for column, value in where.items():
        found = found[found[column] == value]
    return found


def floor_ratios(tree, dtype):
    found = kernels(tree=tree, dtype=dtype).ratio
    return found.min(), found.max()


def over_bare(tree, dtype):
    """Of the four anchored forms, by the medians."""
    time = kernels(tree=tree, dtype=dtype).set_index("optimizer").microseconds
    bases = {"trsgd": "sgd", "trsgdw": "sgd", "tradam": "adam", "tradamw": "adam"}
    return tuple(time[form] / time[base] for form, base in bases.items())


def per_array(tree):
    (row,) = kernels(tree=tree, dtype="float32", optimizer="sgd").itertuples()
    return (row.microseconds - row.floor_microseconds) / ARRAYS[tree]


def lanes():
    found = csv(f"{RESULTS}/gpu/lanes.csv").set_index("lanes").examples_a_second
    return tuple(round(found[n], -1) for n in (1, 8, 32, 128))


def seconds_each():
    """Of a run and epoch, at both widths; the narrow run was halted in between."""
    wide, narrow = run(CIFAR).meta, run(WIDTH_16).meta
    epochs = wide["experiment"]["epochs"]
    return (
        wide["seconds"]["run"] / (wide["lanes"] * epochs),
        (narrow["seconds"]["run"] - HALTED) / narrow["lanes"],
    )


def runs():
    wide, narrow = seconds_each()
    plan, published = 33 * 30 * wide / 60, 200 * wide / 60  # minutes
    return (
        *(run(CIFAR).meta["lanes"], 11, wide, round(45_000 / wide, -3)),
        *(run(WIDTH_16).meta["lanes"], narrow),
        *(published, 20 * published / 60, round(plan)),
    )


def tests_of_the_library():
    """In processes at once; all, seconds, passed, skipped, failed; again, mended."""
    first, again = csv(f"{RESULTS}/gpu-h200/library-tests.csv").itertuples()
    cores = meta(f"{RESULTS}/gpu-h200/meta.json")["device"]["cores"]
    return (
        *(cores, in_all(first), first.seconds, first.passed, first.skipped),
        *(first.failed, again.passed, in_all(again), again.seconds),
        *(again.skipped, again.failed),
    )


def in_all(row):
    return row.passed + row.failed + row.skipped


def merged(column, which, dtype="float32", optimizer="proximal, adam", option="none"):
    """Return a column of both processes, sorted; `which` arrays share kernels."""
    found = csv(f"{RESULTS}/gpu-h200/merged.csv")
    found = found[(found.dtype == dtype) & (found.optimizer == optimizer)]
    rows = found[(found.merged == which) & (found.option == option)]
    assert [*rows.process] == [1, 2]
    return sorted(rows[column])


def merged_times():
    """Before and after, in float32 and in bfloat16."""
    return [
        time
        for dtype in ("float32", "bfloat16")
        for which in ("none", "small")
        for time in merged("microseconds", which, dtype)
    ]


def merged_ratios():
    before, again = merged("ratio", "none")
    assert f"{before:.2f}" == f"{again:.2f}"
    return (
        *(*merged("ratio", "small"), before),
        *merged("ratio", "small", "bfloat16"),
        *merged("ratio", "none", "bfloat16"),
    )


def merged_all():
    low, high = merged("ratio", "all", "bfloat16")
    assert f"{low:.2f}" == f"{high:.2f}"
    return (
        *(merged("kernels", which)[0] for which in ("all", "small")),
        *(*merged("ratio", "all"), low),
        merged("kernels", "all", optimizer="adam")[0],
        *merged("ratio", "all", optimizer="adam"),
    )


def overlapping():
    return (
        merged("kernels", "none", option="concurrent")[0],
        *merged("ratio", "none", option="concurrent"),
        *merged("ratio", "none", "bfloat16", option="concurrent"),
    )


CLAIMS = [
    Claim(
        "timed by hand in the loop of `gpu`): {:,.0f} and {:,.0f} microseconds became "
        "{:,.0f} and {:,.0f} in float32, {:.0f} and {:.0f} became {:.0f} and {:.0f} in "
        "bfloat16;",
        merged_times,
    ),
    Claim(
        "That is {:.2f} and {:.2f} times what our copy kernel takes to move as many "
        "bytes, after {:.2f} in both (bfloat16: {:.2f} and {:.2f}, after {:.2f} and "
        "{:.2f}).",
        merged_ratios,
    ),
    Claim(
        "leaves {} kernels of {} and takes {:.2f} and {:.2f} (bfloat16: {:.2f} in "
        "both). Bare Adam in {} kernels still takes {:.2f} and {:.2f} times as long as "
        "the copy,",
        merged_all,
    ),
    Claim(
        "alone lets the {} kernels overlap: {:.2f} and {:.2f} (bfloat16: {:.2f} and "
        "{:.2f}).",
        overlapping,
    ),
    Claim(
        "ran there in {} processes at once: of {:,} in {} s {:,} passed, {} were "
        "skipped and {} failed.",
        lambda: tests_of_the_library()[:6],
    ),
    Claim(
        "Mended, with a test more, {:,} of {:,} passed in {} s, {} were skipped and {} "
        "failed, for",
        lambda: tests_of_the_library()[6:],
    ),
    Claim("`gpu --minutes {}`;", lambda: (meta(GPU)["calls"][0]["minutes"],)),
    Claim(
        "an {} with jax {},",
        lambda: (meta(GPU)["device"]["kind"], meta(GPU)["versions"]["jax"]),
    ),
    Claim(
        "takes {:.2f} to {:.2f} times as long as our copy kernel takes to move as "
        "many bytes ({:.1f} TB/s) in float32, {:.2f} to {:.2f} times in bfloat16; of "
        "the 25 M of ResNet-50 {:.2f} to {:.2f} and {:.2f} to {:.2f} times. In "
        "float32 SGD's rest is {:.1f} to {:.1f} microseconds for each array of either "
        "tree.",
        lambda: (
            *floor_ratios(LARGE, "float32"),
            kernels(tree=LARGE, dtype="float32").floor_gigabytes_a_second.mean() / 1000,
            *floor_ratios(LARGE, "bfloat16"),
            *floor_ratios(SMALL, "float32"),
            *floor_ratios(SMALL, "bfloat16"),
            *sorted(map(per_array, ARRAYS)),
        ),
    ),
    Claim(
        "makes it as long as bare times {:.2f} (TRSGD), {:.2f} (TRSGDW), {:.2f} "
        "(TRAdam) and {:.2f} (TRAdamW) for GPT-2 small, {:.2f}, {:.2f}, {:.2f} and "
        "{:.2f} for ResNet-50, in float32; in bfloat16 {:.2f} to {:.2f}. Counted in "
        "bytes, re-anchoring included, it is {:.2f} and {:.2f}.",
        lambda: (
            *over_bare(LARGE, "float32"),
            *over_bare(SMALL, "float32"),
            min(x for tree in ARRAYS for x in over_bare(tree, "bfloat16")),
            max(x for tree in ARRAYS for x in over_bare(tree, "bfloat16")),
            *(
                kernels(optimizer=form).arrays.max()
                / kernels(optimizer=base).arrays.max()
                for form, base in (("trsgd", "sgd"), ("tradam", "adam"))
            ),
        ),
    ),
    Claim(
        "{:,.0f} examples a second alone, {:,.0f} in 8 replicas, {:,.0f} in 32, "
        "{:,.0f} in 128.",
        lanes,
    ),
    Claim(
        "of {} that train together, {} optimizers, took {:.1f} s an epoch, evaluation "
        "included ({:,.0f} examples a second); at width 16, of {}, about {:.1f} s. "
        "From there the published 200 epochs would take {:.0f} minutes a run, and "
        "{:.1f} hours for the published 20; plan.md says 2.3, from SGD's replicas "
        "without evaluation. The plan's 30 epochs would take {} minutes.",
        runs,
    ),
    Claim(
        "for about 190 of its {:.0f} s (what is left of them is {:.1f} s a run)",
        lambda: (run(WIDTH_16).meta["seconds"]["run"], seconds_each()[1]),
    ),
]
COPIED = ()
EXEMPT = {
    "the 124 M parameters": "the network's size",
    "there it is 2 units": "PTX ISA, div.full.f32",
    "80GB": "the device's name",
    "The aim was 1.10": "a budget",
}
