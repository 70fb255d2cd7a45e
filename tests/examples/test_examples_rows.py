"""Each number that an example shows is recomputed from its committed raw rows.

The oracle is the csv file and textbook formulas of means, intervals and tests, without
the examples' own code.
"""

import re
from itertools import pairwise, permutations, product

import contrasts
import numpy as np
import pytest
from example_rows import (
    EXAMPLES,
    RESULTS,
    best_of,
    counted,
    half,
    interval,
    minus_interpolated,
    read,
    scores,
)
from scipy import stats

INTERVAL = re.compile(r"[+-][\d.]+ \([+-][\d.]+ to [+-][\d.]+\)")


# ------------------------------------------------------------------------ the tables


def comparison(rows, title, header):
    """Mean and half of its interval, and the difference to the first."""
    title, found = title.split(":")[0], best_of(rows, title.split(":")[0])
    first = next(iter(found))
    assert header[2] == f"minus {first} (95 % interval)"
    for name, x in found.items():
        text, none = interval(x, found[first])
        difference = text + ", no significant difference" * none
        mean = f"{x.mean():.4f} +- {half(x):.4f} (n={len(x)})"
        yield [name, mean, "-" if name == first else difference]


def spread(rows, title, _):
    """Mean and half of its interval, median and trimmed mean."""
    for name, x in best_of(rows, title.split(":")[0]).items():
        mean = f"{x.mean():.4f} +- {half(x):.4f} (n={len(x)})"
        yield [name, mean, f"{np.median(x):.4f}", f"{stats.trim_mean(x, 0.1):.4f}"]


def contrast(rows, title, header):
    """Compare a method with its peers; the functions of p have their own tests."""
    found = best_of(rows, title.split(":")[0])
    x = found.pop(header[0].removesuffix(" minus"))
    p = {name: contrasts.permutation(x - y) for name, y in found.items()}
    corrected = dict(zip(p, contrasts.holm(list(p.values())), strict=True))
    for name, y in found.items():
        d = x - y
        t = stats.ttest_rel(x, y).pvalue if d.any() else 1.0
        yield [
            name,
            interval(x, y)[0],
            f"{np.median(d):+.4f}",
            f"{stats.trim_mean(d, 0.1):+.4f}",
            *(f"{value:.2g}" for value in (t, p[name], corrected[name])),
            f"{contrasts.visible(d):.4f}",
        ]


def at_ends(rows, title, header):
    """Means over seeds of what was seen at the ends of the periods."""
    title = title.removeprefix("Means over the ends of all periods, ").removesuffix(":")
    columns = [
        best_of(rows, f"{title}: {name}")
        for name in ("distance", "relative distance", "pull ratio")
    ]
    distance = {name: x.mean() for name, x in columns[0].items()}
    first = header[2].removeprefix("over that of ")
    for name, relative, ratio in zip(distance, *columns[1:], strict=True):
        yield [
            name,
            f"{distance[name]:.4f}",
            f"{distance[name] / distance[first]:.2f}",
            f"{columns[1][relative].mean():.4f}",
            f"{columns[2][ratio].mean():.2f}",
        ]


def by_rate(rows, *_):
    """Every anchor at every rate, minus float32's."""
    measures = [scores(rows, x) for x in ("test accuracy", "error", "bias")]
    for name, of_rates in measures[0].items():
        base, anchor = name.split(", ", 1)
        for trial, x in of_rates.items():
            whole = measures[0][f"{base}, float32"][trial]
            yield [
                f"{base}, {trial[0][1]:g}, {anchor}",
                f"{x.mean():.4f} +- {half(x):.4f}",
                interval(x, whole)[0],
                *(f"{m[name][trial].mean():.1e}" for m in measures[1:]),
            ]


def by_trial(rows, title, header):
    """Methods beside each other, a row for each setting."""
    title = title.removesuffix(":")
    places = {"Error of the pull (fraction of it)": 2, "Test accuracy (fraction)": 4}
    found = scores(rows, title)
    assert list(found) == header[1:]
    for trial in next(iter(found.values())):
        cells = [found[name][trial] for name in found]
        yield [
            ", ".join(f"{name} {x:g}" for name, x in trial),
            *(f"{x.mean():.{places[title]}g} +- {half(x):.1g}" for x in cells),
        ]


def every_setting(rows, *_):
    """Return what is kept and what is learned at every size."""
    kept, learned = (scores(rows, x) for x in ("Kept", "Learned"))
    for name, of_sizes in kept.items():
        for trial, x in of_sizes.items():
            pair = x, learned[name][trial]
            cells = (f"{y.mean():.3f} +- {half(y):.3f}" for y in pair)
            yield [name, f"{trial[0][1]:.3g}", *cells]


def beside(rows, _, header):
    """One score a method or setting, the tables of rows beside each other."""
    titles = [title for title in header[1:] if title != "setting"]
    found = [scores(rows, title) for title in titles]
    usual = 4 if "setting" in header else 2
    places = [0 if title.endswith(", ms") else usual for title in titles]
    for name, of_trials in found[0].items():
        for trial in of_trials:
            cells = (
                f"{x[name][trial].item():.{n}f}"
                for x, n in zip(found, places, strict=True)
            )
            yield [name, *(f"{number:g}" for _, number in trial), *cells]


KINDS = {  # by the second column of the header; of a comparison it is a measure
    "mean +- half of the 95 % interval": spread,
    "mean (95 % interval)": contrast,
    "distance": at_ends,
    "test accuracy": by_rate,
    "float32": by_trial,
    "size": every_setting,
    "kept": beside,
    "setting": beside,
}


def blocks(text):
    """Of each table its title, or the last one's, its header and its other rows."""
    title, lines = "", text.splitlines()
    table = []
    for line, following in pairwise([*lines, ""]):
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
            if not following.startswith("|"):
                yield title, table[0], table[2:]
                table = []
        elif line:
            title = line


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_tables_are_of_the_rows(path):
    rows, text = read(path.stem), path.read_text(encoding="utf-8")
    tables = list(blocks(text))
    assert tables
    for title, header, cells in tables:
        is_comparison = len(header) == 3 and header[1] != "kept"
        kind = comparison if is_comparison else KINDS[header[1]]
        assert list(kind(rows, title, header)) == cells


# --------------------------------------------------------------- choices and sentences


def mark(chosen, values):
    if chosen == 0:
        return " (off)"
    return " (edge)" if chosen in (min(values), max(values)) else ""


def choices(rows, table):
    """Return the words of each method's line: its best by the mean validation score."""
    for name, of_trials in scores(rows, table, "validation").items():
        best = dict(max(of_trials, key=lambda trial: of_trials[trial].mean()))
        every = [dict(trial) for trial in of_trials]
        parts = []
        for number, chosen in best.items():
            values = {trial[number] for trial in every}
            if len(values) > 1:
                parts.append(f"{number} {chosen:.3g}{mark(chosen, values)}")
        yield f"- {name}", *sorted(parts), f"of {len(every)} trials"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_choices_are_the_best_of_the_rows_and_were_tested(path):
    rows, text = read(path.stem), path.read_text(encoding="utf-8")
    titled = re.findall(r"^(Chosen [^\n]*):\n\n((?:- [^\n]*\n)+)", text, re.MULTILINE)
    tables = {row["table"] for row in rows if row["split"] == "validation"}
    if path.stem.startswith("choose_strength"):
        (table,) = tables  # in a sentence
        best = next(choices(rows, table))[1]
        assert f"The safe {best.replace(' ', ', ')}, is the best of 13" in text
        return
    assert {title for title, _ in titled} == tables
    for title, lines in titled:
        for line, chosen in zip(lines.splitlines(), choices(rows, title), strict=True):
            name, numbers = line.split(": ")
            *numbers, count = numbers.split(", ")
            assert (name, *sorted(numbers), count) == chosen


def sentences(found):
    """Every verdict on two methods of a table."""
    for (name, x), (baseline, y) in permutations(found.items(), 2):
        text, none = interval(x, y)
        if none:
            yield f"{name} and {baseline}: no significant difference, {text}."
        else:
            told = "higher" if (x - y).mean() > 0 else "lower"
            yield f"{name} is {told} than {baseline}: {text}."


def every_table(rows):
    """Read {method: scores} of every table and setting that was tested."""
    for table in dict.fromkeys(row["table"] for row in rows if row["split"] == "test"):
        found = scores(rows, table)
        shared = set.intersection(*(set(x) for x in found.values()))
        if shared:
            yield from ({name: x[k] for name, x in found.items()} for k in shared)
        else:
            yield best_of(rows, table)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_sentences_are_of_the_rows(path):
    rows, text = read(path.stem), path.read_text(encoding="utf-8")
    prose = "\n".join(x for x in text.splitlines() if not x.startswith("|"))
    claims = list(INTERVAL.finditer(prose))
    expected = set()
    if claims:
        expected = {x for found in every_table(rows) for x in sentences(found)}
    for match in claims:
        before = prose[: match.end() + 1]
        assert any(before.endswith(sentence) for sentence in expected), match[0]


def reach(rows, table, margin):
    """Find {method: largest rate within `margin` of the best validation score}."""
    for name, of_trials in scores(rows, table, "validation").items():
        means = {dict(trial)["rate"]: x.mean() for trial, x in of_trials.items()}
        yield name, max(r for r, x in means.items() if x > max(means.values()) - margin)


def test_further_numbers_of_the_results():
    def text(name):
        return (EXAMPLES / "results" / f"{name}.md").read_text(encoding="utf-8")

    chosen = "Chosen on validation data"
    largest = dict(reach(read("slrla"), chosen, 0.05))
    reached = ", ".join(f"{name} to {x:.3g}" for name, x in largest.items())
    assert f"Rates within 0.05 of the best validation accuracy: {reached}." in text(
        "slrla"
    )

    found = scores(read("elastic_averaging"), chosen, "validation")
    best = {name: max(x.mean() for x in y.values()) for name, y in found.items()}
    change = best["EASGD"] - best["average"]
    assert f"on the validation images is {change:+.4f}." in text("elastic_averaging")

    before = best_of(read("finetune_l2sp"), "Digits 0-4 before")["pretrained"]
    assert f"On the old ones, {before.mean():.4f} before:" in text("finetune_l2sp")

    at_largest = []
    for name, x in scores(read("noisy_labels_rdi"), chosen, "validation").items():
        of_rate = [s.mean() for trial, s in x.items() if dict(trial)["rate"] == 0.03]
        at_largest.append(f"{name} {max(of_rate):.4f}")
    expected = f"at the rate 0.03: {', '.join(at_largest)}."
    assert expected in text("noisy_labels_rdi")


def test_ewc_is_compared_with_weights_that_learned_as_much():
    text = (EXAMPLES / "results/finetune_smollm2.md").read_text(encoding="utf-8")
    for setting in (1e4, 1e5, 1e6):
        own, english = minus_interpolated(setting)
        assert (
            f"EWC {setting:g} minus an interpolation with as many bits on the new "
            f"text: own samples {own:+.4f}, descriptions {english:+.4f}."
        ) in text


# ------------------------------------------------------------------------- the README


NUMBER = re.compile(r"[+-]?\d+\.\d+")
LINK = re.compile(r"\]\([^)]*\)")


def difference(name, table, method, baseline):
    """Return the interval of a table of one setting a method."""
    found = best_of(read(name), table)
    return interval(found[method], found[baseline])[0]


def at(name, table, method, baseline, **trial):
    """Return the interval at one setting of those of a table."""
    found, key = scores(read(name), table), tuple(trial.items())
    return interval(found[method][key], found[baseline][key])[0]


def rule(data, times):
    """Return the interval of the rule minus the safe rate."""
    found = best_of(read(f"choose_strength-{data}"), f"{data}, {times} x safe")
    return interval(found["the rule"], found["safe rate, no pull"])


def choose_strength():
    for method, data in product(("the rule", "no pull"), ("digits", "fashion-mnist")):
        columns = method, "safe rate, no pull"
        yield difference(f"choose_strength-{data}", f"{data}, 10 x safe", *columns)
    yield rule("fashion-mnist", 30)[0]


def continual_ewc():
    name, old, new = "continual_ewc", "Old tasks after the last one", "The last task"
    yield difference(name, old, "EWC", "plain")
    yield difference(name, new, "EWC", "plain")
    yield difference(name, old, "EWC", "L2-SP")
    yield difference(name, new, "EWC", "L2-SP")
    yield difference(name, old, "L2-SP", "plain")


def diloco_bytes():
    for table in (
        "4 workers, 300 steps",
        "2 workers, 600 steps",
        "1 worker, 1200 steps",
    ):
        yield difference("diloco_bytes", table, "DiLoCo", "data-parallel")


def dqn_pro():
    name, table = "dqn_pro", "Each at the best of its 24 settings"
    found = best_of(read(name), table)
    yield interval(found["DQN Pro"], found["DQN"])[0]
    yield f"{contrasts.visible(found['DQN Pro'] - found['DQN']):.1f}"
    yield interval(found["DQN Pro"], found["DQN, Polyak"])[0]
    yield interval(found["DQN Pro"], found["Double DQN"])[0]
    for period in (5, 10, 20, 40):
        yield difference(name, f"period {period}", "DQN Pro", "DQN")


def elastic_averaging():
    table = "8 workers, every 10 steps"
    yield difference("elastic_averaging", table, "EASGD", "average")
    found = scores(read("elastic_averaging"), "Chosen on validation data", "validation")
    best = {name: max(x.mean() for x in y.values()) for name, y in found.items()}
    yield f"{best['EASGD'] - best['average']:+.4f}"


def federated_fedprox():
    for method, stragglers in (
        ("FedProx, mu tuned", 90),
        ("FedAvg", 90),
        ("FedProx, mu tuned", 50),
        ("FedProx, mu tuned", 0),
    ):
        table = f"{stragglers}% stragglers"
        yield difference("federated_fedprox", table, method, "FedProx, mu = 0")


def finetune_forget_less():
    """At the settings that the row names: a share of the rate, and lambda / 2."""
    rows = read("finetune_forget_less")
    pair = ("a pull weighted by Fisher", 362), ("a lower rate alone", 0.436)
    for table in ("Kept", "Learned"):
        found = scores(rows, table)
        x, y = (
            next(
                x
                for trial, x in found[name].items()
                if f"{trial[0][1]:.3g}" == f"{n:g}"
            )
            for name, n in pair
        )
        yield interval(x, y)[0]
    yield "362"
    yield "0.436"


def finetune_l2sp():
    table = "Digits 5-9 from 25 images"
    found = best_of(read("finetune_l2sp"), table)
    yield interval(found["L2-SP"], found["plain"])[0]
    yield f"{np.median(found['L2-SP'] - found['plain']):+.4f}"
    for peer in ("L2 on the head", "weight decay"):
        yield interval(found["L2-SP"], found[peer])[0]
    table = "Digits 0-4, with the old head"
    yield difference("finetune_l2sp", table, "L2-SP", "plain")


def finetune_memory():
    kept = best_of(read("finetune_memory"), "kept")
    for name in (
        "EWC, float32 anchor and Fisher",
        "AdamW",
        "EWC, float32 anchor, bfloat16 Fisher",
        "EWC, bfloat16 anchor and Fisher",
        "anchor of a period, float32",
        "anchor of a period, int16",
    ):
        yield f"{kept[name].item():.2f}"
    most = best_of(read("finetune_memory"), "with gradients and scratch")
    dtypes = "float32", "int16"
    (both,) = {f"{most[f'anchor of a period, {x}'].item():.2f}" for x in dtypes}
    yield both


def finetune_smollm2():
    def key(setting):
        return (("setting", setting),)

    for setting in (1e5, 1e4, 1e6):
        yield from (f"{x:+.4f}" for x in minus_interpolated(setting))
    own = scores(read("finetune_smollm2"), "own samples")
    ((before,),) = own["before"].values()
    for name, setting in (("AdamW", 1.0), ("EWC", 1e5)):
        yield f"{own[name][key(setting)].item() - before:.4f}"
    differences = [minus_interpolated(setting) for setting in (1e4, 1e5, 1e6)]
    assert all(english > 0 for _, english in differences)


def mixed_precision():
    table, setting = "Test accuracy (fraction)", {"strength": 10.0, "rate": 1e-4}
    yield at("mixed_precision", table, "bfloat16 anchor", "float32", **setting)
    found = scores(read("mixed_precision"), table)
    low, high = found["bfloat16 parameters"], found["float32"]
    lost = [
        100 * (high[trial].mean() - x.mean())
        for trial, x in low.items()
        if dict(trial)["rate"] < 0.01
    ]
    yield f"{min(lost):.1f} to {max(lost):.1f}"
    yield "0.01"


def noisy_labels_rdi():
    table = "Digits with 40% of the labels flipped, batch 8"
    for pair in (("RDI", "plain"), ("RDI", "weight decay"), ("both", "weight decay")):
        yield difference("noisy_labels_rdi", table, *pair)


def private_training():
    for sigma, method in product((2, 4, 1), ("proximal", "decoupled_proximal")):
        yield difference("private_training", f"sigma {sigma}", method, "plain")
    yield difference("private_training", "sigma 2", "average", "plain")


def slrla():
    table = "Digits at batch 8, 1000 steps"
    yield difference("slrla", table, "SLRLA", "Lookahead")
    largest = dict(reach(read("slrla"), "Chosen on validation data", 0.05))
    yield f"{largest['SLRLA'] / largest['Lookahead']:.1f}"


INT16_DIFFERS = [  # all of 20 whose interval leaves out 0
    ("smaller_anchor-digits", "sgd", 0.1),
    ("smaller_anchor-fashion-mnist", "sgd", 0.001),
    ("smaller_anchor-fashion-mnist", "adam", 0.001),
]


def smaller_anchor():
    names = "smaller_anchor-digits", "smaller_anchor-fashion-mnist"
    for anchor, name in product(("int16", "bfloat16", "bfloat16, random"), names):
        columns = f"adam, {anchor}", "adam, float32"
        yield at(name, "test accuracy", *columns, rate=1e-4)
    for name, base, rate in INT16_DIFFERS:
        columns = f"{base}, int16", f"{base}, float32"
        yield f"{rate}"
        yield at(name, "test accuracy", *columns, rate=rate)


def train_diloco():
    yield difference("train_diloco", "4 workers, 300 steps", "DiLoCo", "data-parallel")


FACTS = (
    choose_strength,
    continual_ewc,
    diloco_bytes,
    dqn_pro,
    elastic_averaging,
    federated_fedprox,
    finetune_forget_less,
    finetune_l2sp,
    finetune_memory,
    finetune_smollm2,
    mixed_precision,
    noisy_labels_rdi,
    private_training,
    slrla,
    smaller_anchor,
    train_diloco,
)
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")


def test_every_example_of_the_list_is_recomputed():
    scripts = re.findall(r"^- \[(\w+)\]\(\w+\.py\): ", README, re.MULTILINE)
    assert scripts == [facts.__name__ for facts in FACTS]
    assert {path.stem.split("-")[0] for path in RESULTS} == set(scripts)


@pytest.mark.parametrize("facts", FACTS, ids=lambda facts: facts.__name__)
def test_numbers_of_the_readme_are_of_the_rows(facts):
    name = facts.__name__
    (entry,) = re.findall(rf"^- \[{name}\].*?(?=\n\n\S)", README, re.M | re.S)
    expected = " ".join(facts())
    assert NUMBER.findall(LINK.sub("]", entry)) == NUMBER.findall(expected)


def significant(name, table, method, baseline):
    """List the settings at which the interval of a difference leaves out 0."""
    found = scores(read(name), table)
    for trial, x in found[method].items():
        if not interval(x, found[baseline][trial])[1]:
            yield dict(trial)


def test_what_the_readme_says_of_all_settings():
    table = "Test accuracy (fraction)"
    low = [
        list(significant("mixed_precision", table, method, "float32"))
        for method in ("bfloat16 anchor", "bfloat16 gradients", "gradients cast")
    ]
    assert low == [[{"strength": 10.0, "rate": 1e-4}], [], []]
    found = [
        (data, times)
        for data, times in product(("digits", "fashion-mnist"), (3, 10, 30))
        if not rule(data, times)[1]
    ]
    assert found == [("fashion-mnist", 30)]
    differs = [
        (f"smaller_anchor-{data}", base, trial["rate"])
        for data, base in product(("digits", "fashion-mnist"), ("sgd", "adam"))
        for trial in significant(
            f"smaller_anchor-{data}",
            "test accuracy",
            f"{base}, int16",
            f"{base}, float32",
        )
    ]
    assert differs == INT16_DIFFERS


def test_seeds_and_trials_of_the_readme_are_those_of_the_rows():
    """A line for each result: trials a method, seeds tuned on, seeds compared on."""
    table = README[README.index("| example | trials") :].split("\n\n")[0]
    lines = [x.strip("| ").split(" | ") for x in table.splitlines()[2:]]
    named = {name: line for line in lines for name in line[0].split(", ")}
    assert set(named) == {path.stem.split("-")[0] for path in RESULTS}
    for path in RESULTS:
        _, trials, tuned, compared = named[path.stem.split("-")[0]]
        rows = read(path.stem)
        seeds = {
            split: {row["seed"] for row in rows if row["split"] == split}
            for split in ("validation", "test")
        }
        tables = {row["table"] for row in rows if row["split"] == "validation"}
        if path.stem == "dqn_pro":
            tables = {"Chosen on the tuning seeds"}  # the fixed periods are in the text
            seeds["test"] = {x for x in seeds["test"] if int(x) < 2000}
        counts = {
            len(x) for t in tables for x in scores(rows, t, "validation").values()
        }
        assert counts == ({int(trials)} if trials != "none" else set()), path.stem
        assert seeds["validation"] == (counted(tuned) if counts else set()), path.stem
        assert seeds["test"] == counted(compared.split(",")[0]), path.stem
