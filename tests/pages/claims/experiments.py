"""benchmarks/README.md: what its table of experiments says of them."""

from benchmarks.experiments.finetune import FINETUNE
from benchmarks.report.statistics import is_equal
from claims.committed import (
    better,
    demo_minutes,
    interval,
    run,
    seen,
    worse,
)
from claims.differences import (
    ADAM_FORMS,
    ADAM_INNER,
    ADAM_PRIMARY,
    ADAM_STRENGTHS,
    CIFAR,
    DECOUPLED,
    DIGITS,
    FASHION,
    FASHION_NOISE,
    GAUSSIAN,
    INNER,
    NOISE,
    POINT,
    SGD_FORMS,
    STUDENT,
    WIDTH_16,
    better_strengths,
    fewer,
    high,
    means,
    more,
    primary,
    unequal,
)
from claims.pages import WORDS, Claim


def sensitivity_row():
    for batch in (1, 2, 4, 8, 32):
        assert not unequal(DIGITS, SGD_FORMS, "sgd", batch)
        assert not unequal(DIGITS, ADAM_FORMS, "adam", batch)
    assert unequal(DIGITS, ADAM_FORMS, "adam", 128) == ["tradam"]
    return (
        run(DIGITS).minutes,
        *interval(run(DIGITS).minus("trsgd", "sgd", 8)),
        *(fewer(DIGITS, form, "sgd", 128) for form in SGD_FORMS),
        fewer(DIGITS, "tradam", "adam", 128),
    )


def fashion_row():
    for (method, control, where), each in run(FASHION).contrasts().items():
        if where.batch_size < 32 and (method, control) != ("trsgdw", "trsgd"):
            assert is_equal(each), (method, control)
    assert unequal(FASHION, (*SGD_FORMS, INNER), "sgd", 32) == ["trsgdw"]
    below = [-run(FASHION).minus(x, "sgd", 32).mean for x in ("trsgd", INNER)]
    assert f"{below[0] / POINT:.1f}" == f"{below[1] / POINT:.1f}"
    return (
        run(FASHION).minutes,
        *interval(run(FASHION).minus("trsgd", "sgd", 8)),
        fewer(FASHION, "trsgdw", "sgd", 32),
        fewer(FASHION, "tradam", "adam", 32),
        below[0] / POINT,
    )


def ablation_row():
    found = run("ablation-digits").strengths().values()
    assert better(found) == 0
    assert run("ablation-digits").usable(DECOUPLED.format(3)).open_high
    return (
        run("ablation-digits").minutes,
        *means("ablation-digits", DECOUPLED.format(3), DECOUPLED.format(0)),
        len(found),
        worse(found),
        *(high("ablation-digits", DECOUPLED.format(x)) for x in (0, 1, 3)),
    )


def ablation_fashion_row():
    name, found = "ablation-fashion-mnist", run("ablation-fashion-mnist")
    train = [
        form
        for form in found.meta["baselines"]
        if form.startswith("decoupled") and form.endswith("strength 3")
        if found.fails(form) is not None
    ]
    assert train == ["decoupled, S = 2, strength 3"]
    strengths = found.strengths().values()
    gains = [x.mean / POINT for x in better_strengths().values()]
    return (
        found.minutes,
        *means(name, DECOUPLED.format(3), DECOUPLED.format(0)),
        len(strengths),
        WORDS[len(gains)],
        *gains,
        worse(strengths),
    )


def adam_row():
    found, contrasts = run(ADAM_STRENGTHS), [*map(primary, ADAM_PRIMARY)]
    assert all(map(is_equal, contrasts))
    assert all(name.startswith("adam, coupled") for name in significant(ADAM_STRENGTHS))
    strengths = found.strengths().values()
    return (
        found.minutes,
        *(x for each in contrasts for x in interval(each)),
        *(seen([each], unit=POINT) for each in contrasts),
        len(strengths),
        {0: "none"}[better(strengths)],
        WORDS[worse(strengths)],
        found.usable("adam, decoupled, inner decay, strength 3").high,
    )


def significant(name):
    """List the strengths that differ from strength 0."""
    return [x for x, each in run(name).strengths().items() if not is_equal(each)]


def noise_row():
    for where in ((32,), GAUSSIAN, STUDENT):
        assert not unequal(NOISE, SGD_FORMS, "sgd", *where)
        assert not unequal(NOISE, ADAM_FORMS, "adam", *where)
    return (
        run(NOISE).minutes,
        *interval(run(NOISE).minus("trsgd", "sgd", *GAUSSIAN)),
        *interval(run(NOISE).minus("trsgd", "sgd", *STUDENT)),
        more(NOISE, "adam", "sgd", *STUDENT),
        fewer(NOISE, "trsgdw", INNER, *STUDENT),
    )


def fashion_noise_row():
    noises, name = (GAUSSIAN, STUDENT), FASHION_NOISE
    for where in noises:
        assert not unequal(name, ("trsgd", "anchor alone"), "sgd", *where)
    differences = [
        run(name).minus(*pair, *where)
        for pair in (("trsgd", "sgd"), ("tradam", "adam"))
        for where in noises
    ]
    return (
        run(name).minutes,
        *(x for each in differences for x in interval(each)),
        *(fewer(name, x, "adam", *w) for x in ("tradam", ADAM_INNER) for w in noises),
    )


def language_row():
    found, batches = run("language"), (1, 4, 16)

    def behind(method, control):
        pairs = [found.minus(method, control, batch) for batch in batches]
        assert not any(map(is_equal, pairs))
        return pairs[0].mean, pairs[-1].mean

    coupled = [found.minus("tradam", ADAM_INNER, batch) for batch in batches]
    decoupled = [found.minus("tradamw", ADAM_INNER, batch) for batch in batches]
    assert [is_equal(x) for x in coupled] == [False, False, True]
    assert [is_equal(x) for x in decoupled] == [False, True, True]
    return (
        *behind("tradam", "adam"),
        *behind("trsgd", "sgd"),
        *behind(ADAM_INNER, "adam"),
        *(x.mean for x in coupled[:2]),
        -decoupled[0].mean,
    )


def gan_row():
    forms = (*ADAM_FORMS, ADAM_INNER)
    assert not unequal("gan", (*forms, "adam, weight average"), "adam")
    assert not unequal("gan", ADAM_FORMS, ADAM_INNER)
    sizes = [seen([run("gan").minus(form, "adam")]) for form in forms]
    return (
        run("gan").minutes,
        *means("gan", "adam", *forms, "adam, weight average"),
        min(sizes),
        max(sizes),
    )


def cifar_row():
    over = {
        "adam": ("tradam", "adam at 0.293 x", ADAM_INNER),
        "sgd": ("trsgd", "sgd at 0.212 x", INNER),
    }
    return (
        *run(CIFAR).meta["seconds"].values(),
        *(
            x
            for base, methods in over.items()
            for method in methods
            for x in interval(run(CIFAR).minus(method, base), POINT)
        ),
    )


def sizes_of(e):
    """Return what a row says of an experiment with a pretrained network."""
    (batch,), numbers = e.batch_sizes, e.problem
    steps = (e.epochs - numbers.epochs_each) * numbers.windows // batch
    sizes = steps, batch, numbers.context, len(e.optimizers), len(e.learning_rates)
    return *sizes, e.seeds - e.tuning_seeds


CLAIMS = [
    Claim(
        "`run demo`, on 2 CPU cores, {:.1f} to {:.1f} min. SGD {:.4f} +- {:.4f}, "
        "TRSGD {:.4f} +- {:.4f} (n=5).",
        lambda: (*demo_minutes(), *means("demo", "sgd", "trsgd")),
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. TRSGD - SGD at batch 8: {:+.4f} +- "
        "{:.4f} (n=5). At batch 1 to 32 TRSGD, TRAdam and their decoupled forms equal "
        "the tuned base; at 128 (160 steps) TRSGD, TRSGDW and TRAdam lose {:.1f}, "
        "{:.1f} and {:.1f} points.",
        sensitivity_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. TRSGD - SGD at batch 8: {:+.4f} +- "
        "{:.4f} (n=3). At batch 2 and 8 the anchored forms equal the tuned base and "
        "their controls; at 32 (310 steps) TRSGDW loses {:.1f} points and TRAdam "
        "{:.1f}; that TRSGD and inner decay alone are {:.1f} points lower is not "
        "significant.",
        fashion_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. Decoupled, no inner decay: strength 3 "
        "{:.4f} +- {:.4f}, strength 0 {:.4f} +- {:.4f} (n=5). Of {} strengths above "
        "0 none is better than strength 0, {} are worse. The decoupled pull without "
        "inner decay is usable up to a rate of {:.3f} at strength 0, {:.2f} at 1 and "
        "at least {:.0f} at 3.",
        ablation_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. Decoupled, no inner decay: strength 3 "
        "{:.4f} +- {:.4f}, strength 0 {:.4f} +- {:.4f} (n=3). Of {} strengths above 0 "
        "{} are better than strength 0, by {:.1f} and {:.1f} points, {} are worse. At "
        "strength 3 the decoupled forms of S = 5 and more train at every rate up to 1.",
        ablation_fashion_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. Strength above 0 and rate chosen "
        "together, minus Adam (primary): TRAdam {:+.4f} +- {:.4f}, TRAdamW {:+.4f} +- "
        "{:.4f} (n=5). Both equal Adam; {:.1f} and {:.1f} points would have been "
        "seen with a power of 80 %. Of {} strengths above 0 {} is better than "
        "strength 0, {} are worse, all coupled. The decoupled forms are usable up to "
        "at least {:.1f} at strength 3 and 10.",
        adam_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. TRSGD - SGD: Gaussian {:+.4f} +- "
        "{:.4f}, Student t {:+.4f} +- {:.4f} (n=5). In noise too the anchored forms "
        "equal the tuned base; under the heavy tails Adam leads SGD by {:.1f} points, "
        "and TRSGDW is {:.1f} behind inner decay alone.",
        noise_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. TRSGD - SGD: Gaussian {:+.4f} +- "
        "{:.4f}, Student t {:+.4f} +- {:.4f}; TRAdam - Adam: {:+.4f} +- {:.4f}, "
        "{:+.4f} +- {:.4f} (n=3). Extra noise does not favour the method: TRSGD and "
        "the anchor alone equal SGD, TRAdam is behind Adam by {:.1f} and {:.1f} "
        "points, inner decay alone by {:.1f} and {:.1f}.",
        fashion_noise_row,
    ),
    Claim(
        "on one H100, {:.0f} s to compile, {:.0f} s to run. Published after 200 "
        "epochs: TRSGD +1.9, TRAdam +3.9 points. Points over Adam: TRAdam {:.1f} +- "
        "{:.1f}, at 0.293 x {:.1f} +- {:.1f}, inner decay alone {:.1f} +- {:.1f}; over "
        "SGD: TRSGD {:.1f} +- {:.1f}, at 0.212 x {:.1f} +- {:.1f}, inner decay alone "
        "{:.1f} +- {:.1f} (n=3)",
        cifar_row,
    ),
    Claim(
        "one H100, {:.0f} s to compile, {:.0f} s to run of which it was halted for "
        "about 190. Points over the tuned base: TRSGD {:.1f} +- {:.1f}, TRAdam "
        "{:.1f} +- {:.1f} (n=3)",
        lambda: (
            *run(WIDTH_16).meta["seconds"].values(),
            *interval(run(WIDTH_16).minus("trsgd", "sgd"), POINT),
            *interval(run(WIDTH_16).minus("tradam", "adam"), POINT),
        ),
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. Bits per byte at batch 1: Adam {:.3f} +- "
        "{:.3f}, b2 rescaled {:.3f} +- {:.3f}, SGD {:.3f} +- {:.3f}, TRSGD {:.3f} +- "
        "{:.3f}, TRAdam {:.3f} +- {:.3f}, TRAdamW {:.3f} +- {:.3f}, inner decay alone "
        "{:.3f} +- {:.3f} (n=3)",
        lambda: (
            run("language").minutes,
            *means(
                "language",
                *("adam", "adam, b2 rescaled", "sgd", "trsgd", *ADAM_FORMS, ADAM_INNER),
                where=(1,),
            ),
        ),
    ),
    Claim(
        "TRAdam is behind Adam by {:.2f} (batch 1) to {:.2f} bits (16), TRSGD behind "
        "SGD by {:.2f} to {:.2f}. The inner decay alone costs {:.2f} to {:.2f}, the "
        "coupled pull another {:.2f} and {:.2f} at batch 1 and 4 (at 16 they are "
        "equal). The decoupled pull gains {:.3f} over inner decay alone at batch 1; "
        "at 4 and 16 it equals it.",
        language_row,
    ),
    Claim(
        "on 2 CPU cores, up to {:.0f} min. Published: pictures only. Mean IoU of "
        "the labels read back from the photos: Adam {:.4f} +- {:.4f}, TRAdam {:.4f} +- "
        "{:.4f}, TRAdamW {:.4f} +- {:.4f}, inner decay alone {:.4f} +- {:.4f}, weight "
        "average {:.4f} +- {:.4f} (n=3). By this score all equal Adam, and the "
        "anchored forms inner decay alone; differences to Adam of {:.2f} to {:.2f} "
        "would have been seen",
        gan_row,
    ),
    Claim(
        "SmolLM2-135M learns a new text without what it was trained on, {} steps of {} "
        "x {} tokens, {} methods, {} trials each, {} test seeds.",
        lambda: sizes_of(FINETUNE),
    ),
]

COPIED = ()
EXEMPT = {
    "in 2 instead of 200 epochs": "settings",
    "over 5 rates": "settings",
    "about 190": "noted by hand; the rest of the row is in its claim",
    "SGD 93.6, TRSGD 95.5, Adam 90.7, TRAdam 94.6 %; CIFAR-100: 73.9, 79.8, 67.8, "
    "77.8 % (read off plots, +-0.2)": "the plots of the reference implementation",
    "doi 10.24963/ijcai.2019/604": "a paper",
    "mean of epochs 180-200; there 50,000 images train, here 45,000 and 5,000 "
    "validate": "settings",
    "contains 0": "a definition",
}
