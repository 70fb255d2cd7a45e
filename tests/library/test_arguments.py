"""Each argument of each public function, given what it cannot use.

The arguments are derived from the signatures. Each is given each of ``VALUES``, and a
schedule of each: it is refused at construction (a schedule at init) by an error of ours
that names it, or stands in ``LEGAL``.
"""

import inspect
import math
import re
import traceback
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_contract import ALIASES, FACTORIES, OUTSIDE

import prox_optax

PARAMS = {"w": jnp.ones(3)}
STATE = prox_optax.proximal(0.1).init(PARAMS)
ADAM_STATE = optax.ScaleByAdamState(jnp.int32(1), PARAMS, PARAMS)
VALUES = {
    "negative": -1,
    "negative float": -0.5,
    "zero": 0,
    "zero float": 0.0,
    "half": 0.5,
    "one": 1,
    "nan": math.nan,
    "infinite": math.inf,
    "beyond float32": 1e40,
    "beyond float64": 10**400,
    "beyond int32": 2**31,
    "just below one": 1 - 1e-9,
    "unsigned": np.uint8(1),
    "small float": jnp.float8_e4m3fn(0.5),
    "large float": np.longdouble(0.5),
    "NumPy nan": np.float32("nan"),
    "NumPy negative": np.array(-1.0),
    "bool": True,
    "NumPy bool": np.True_,
    "text": "0.1",
    "bytes": b"0.1",
    "none": None,
    "list": [0.5],
    "wrong shape": np.ones(5),
    "JAX array of wrong shape": jnp.ones(5),
    "complex": 0.5j,
    "dict": {"other": 0.5},
    "fraction": Fraction(1, 2),
    "object": object(),
    "class": dict,
    "shape": jax.ShapeDtypeStruct((), jnp.float32),
    "dtype": np.float32,
    "small dtype": jnp.float8_e4m3fn,
    "complex dtype": np.complex64,
    "integer dtype": np.int32,
}
FINITE = {"zero", "zero float", "half", "one", "just below one", "unsigned"}
DECAYS = {"zero", "zero float", "half"}
LEGAL = {
    "strength": FINITE,
    "lambda_w": FINITE,
    "learning_rate": FINITE - {"unsigned"},
    "weight_decay": FINITE - {"unsigned"},
    "period": {"one", "unsigned", "none"},
    "anchor_step": {"half", "one", "just below one", "unsigned"},
    "anchor_dtype": {"none", "dtype"},
    "b1": DECAYS,
    "b2": DECAYS,
    "eps": FINITE,
    "eps_root": FINITE,
    "momentum": DECAYS | {"none"},
    "mu_dtype": {"none", "dtype"},
    "accumulator_dtype": {"none", "dtype"},
    "nesterov": {"bool", "NumPy bool"},
    "batch_size": FINITE - {"zero", "zero float"} | {"beyond int32"},
    "reference_batch_size": FINITE - {"zero", "zero float"} | {"beyond int32"},
    "decay": FINITE,
    "step": {"zero", "one", "unsigned"},
    "name": {"none"},
    "optimizer": set(),
    "before": {"none"},
    "behind": {"none"},
    "axis_name": {"text", "none"},
}
LEGAL_IN = {  # where it differs
    ("trsgd", "lambda_w"): FINITE | {"none"},
    ("tradam", "lambda_w"): FINITE | {"none"},
    ("inner_decay", "period"): {"one", "unsigned"},
    ("outer", "period"): {"one", "unsigned"},
    ("inner_decay", "learning_rate"): FINITE
    | {"list", "dict", "wrong shape", "JAX array of wrong shape"},  # trees of numbers
    ("decoupled_proximal", "learning_rate"): FINITE - {"unsigned"} | {"none"},
    ("fisher_diagonal", "batch_size"): {"one", "unsigned", "none"}
    | {"beyond int32", "beyond float64"},  # more than there are is all of them
}
SCHEDULED = {(name, x) for name in ALIASES for x in ("learning_rate", "weight_decay")}
SCHEDULED |= {(name, "lambda_w") for name in [*ALIASES, "decoupled_proximal"]}
SCHEDULED |= {("proximal", "strength"), ("decoupled_proximal", "learning_rate")}

USED = {  # what the other arguments are
    "proximal": {},
    "decoupled_proximal": {},
    **{name: {"learning_rate": 0.1, "lambda_w": 0.1} for name in ALIASES},
    "outer": {**OUTSIDE, "period": 3},
    "inner_decay": {"learning_rate": 0.1},
    "rescale_b2": {"b2": 0.9, "batch_size": 4096, "reference_batch_size": 8192},
    "pull_ratio": {
        "opt_state": STATE,
        "params": PARAMS,
        "gradients": PARAMS,
        "strength": 0.1,
    },
    "carry_over": {"saved_state": STATE, "new_state": STATE, "step": 1},
    "fisher_diagonal": {
        "loss": lambda params, x: jnp.sum(params["w"] * x),
        "params": PARAMS,
        "examples": jnp.ones(2),
    },
    "fisher_from_adam": {"opt_state": ADAM_STATE, "batch_size": 8},
    "consolidate": dict.fromkeys(
        ("fisher", "anchor", "new_fisher", "new_anchor"), PARAMS
    ),
}
USED["anchor_distance"] = USED["get_anchor"] = USED["set_anchor"] = {
    "opt_state": STATE,
    "params": PARAMS,
}
# Whether these fit one another: test_errors, test_distance, test_carry_over,
# test_fisher.
TREES = {"opt_state", "params", "gradients", "saved_state", "new_state"}
TREES |= {*USED["consolidate"], "loss", "examples"}
TABLE = [
    (name, argument)
    for name in prox_optax.__all__
    if inspect.isfunction(getattr(prox_optax, name))
    for argument in inspect.signature(getattr(prox_optax, name)).parameters
    if argument not in TREES
]


def begin(name, arguments):
    """Call a public function, and init where it makes an optimizer."""
    made = getattr(prox_optax, name)(**{**USED[name], **arguments})
    if name in FACTORIES:
        made.init(PARAMS)


def fault(name, argument, value, legal):
    """Say what is wrong with how ``argument`` is judged, or return None."""
    try:
        begin(name, {argument: value})
    except Exception as error:
        raised = traceback.extract_tb(error.__traceback__)[-1]
        ours = Path(raised.filename).parent == Path(prox_optax.__file__).parent
        if legal or not ours or argument not in str(error):
            return f"{type(error).__name__} of {raised.name}: {error}"
        return None
    return None if legal else "silent"


@pytest.mark.parametrize(("name", "argument"), TABLE)
def test_value(name, argument):
    legal = LEGAL_IN.get((name, argument), LEGAL[argument])
    faults = {x: fault(name, argument, VALUES[x], x in legal) for x in VALUES}
    assert {x: why for x, why in faults.items() if why} == {}


def schedules():
    """Make a schedule of each value, and of each number as a JAX array."""
    for label, value in VALUES.items():
        yield label, lambda t, value=value: value
        numbers = float | complex | bool | np.bool_ | np.float32 | np.ndarray
        if isinstance(value, numbers):
            with np.errstate(over="ignore"):
                array = jnp.asarray(value)
            yield label, lambda t, array=array: array
    yield "a schedule", lambda t: optax.constant_schedule(0.1)


SCHEDULES = list(schedules())


@pytest.mark.parametrize(("name", "argument"), TABLE)
def test_schedule(name, argument):
    """At step 0; ``inner_decay`` makes a schedule of it, which is judged where used."""
    legal = LEGAL_IN.get((name, argument), LEGAL[argument]) - {"none"}
    scheduled = (name, argument) in SCHEDULED
    later = (name, argument) == ("inner_decay", "learning_rate")
    faults = [
        (
            label,
            fault(name, argument, schedule, later or (scheduled and label in legal)),
        )
        for label, schedule in SCHEDULES
    ]
    assert [(label, why) for label, why in faults if why] == []


NUMBERS = {
    "learning_rate": 0.1,
    "strength": 0.2,
    "lambda_w": 0.3,
    "weight_decay": 0.01,
    "period": 3,
    "anchor_step": 0.5,
    "b1": 0.8,
    "b2": 0.99,
    "eps": 1e-7,
    "eps_root": 1e-9,
    "momentum": 0.7,
}


def numbers_of(name):
    known = inspect.signature(FACTORIES[name]).parameters
    return {argument: x for argument, x in NUMBERS.items() if argument in known}


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", [np.asarray, lambda x: np.asarray(x)[()], jnp.asarray])
def test_numbers_of_each_kind(name, kind):
    """NumPy and JAX arrays of shape () and NumPy scalars are numbers."""
    numbers = {argument: kind(x) for argument, x in numbers_of(name).items()}
    jax.eval_shape(
        lambda w: FACTORIES[name](**{**USED[name], **numbers}).init(w), PARAMS
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_traced_numbers(name):
    """A grid over all numbers by ``vmap``: nothing of a tracer's value is asked."""

    def run(numbers):
        tx = FACTORIES[name](**{**USED[name], **numbers})
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    two = {argument: np.full(2, x) for argument, x in numbers_of(name).items()}
    updates, _ = jax.eval_shape(jax.vmap(run), two)
    assert updates["w"].shape == (2, 3)


@pytest.mark.parametrize("name", FACTORIES)
def test_traced_schedules(name):
    """Of a schedule that holds a traced number only the kind is judged."""

    def run(x):
        numbers = {
            argument: (lambda t, y=y: x * y * jnp.exp(-t))
            for argument, y in numbers_of(name).items()
            if (name, argument) in SCHEDULED
        }
        tx = FACTORIES[name](**{**USED[name], **numbers})
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)

    updates, _ = jax.eval_shape(jax.vmap(run), jnp.ones(2))
    assert updates["w"].shape == (2, 3)


@pytest.mark.parametrize("name", FACTORIES)
def test_injected_schedules(name):
    """``optax.inject_hyperparams`` takes a schedule for each number but the period."""
    numbers = numbers_of(name)
    schedules = {
        argument: optax.constant_schedule(x)
        for argument, x in numbers.items()
        if argument != "period"
    }
    tx = optax.inject_hyperparams(FACTORIES[name])(**{**USED[name], **schedules})
    state = jax.eval_shape(tx.init, PARAMS)
    _, state = jax.eval_shape(tx.update, PARAMS, state, PARAMS)
    assert schedules.keys() <= state.hyperparams.keys()


def test_injected_anchor_step():
    """By hand: the anchor 0 goes by 1/2, then by 1/4 of the rest, to params at 1."""
    tx = optax.inject_hyperparams(prox_optax.proximal)(
        0.5, period=1, anchor_step=lambda t: 0.5 ** (t + 1.0)
    )
    state = tx.init(jnp.zeros(()))
    for anchor in (0.5, 0.625):
        updates, state = tx.update(jnp.zeros(()), state, jnp.ones(()))
        assert float(state.inner_state.anchor) == anchor
        assert float(updates) == 1 - anchor


@pytest.mark.parametrize("make", [jax.jit, lambda init: init])
def test_start_of_a_schedule(make):
    """Also under ``jit``, where it is known all the same."""
    falling = optax.linear_schedule(-1.0, 1.0, 5)
    for argument in ("learning_rate", "lambda_w", "weight_decay"):
        tx = prox_optax.trsgdw(**{"learning_rate": 0.1, argument: falling})
        with pytest.raises(
            ValueError, match=rf"{argument}\(0\) must be finite and not negative.*-1\.0"
        ):
            make(tx.init)(PARAMS)
    tree = prox_optax.proximal(lambda t: {"w": jnp.log(t)})
    with pytest.raises(ValueError, match=r"strength\(0\)\['w'\] must be finite"):
        make(tree.init)(PARAMS)


def test_start_of_a_schedule_of_the_worker():
    """A learning rate for each worker is not known at init, outside of them."""
    tx = prox_optax.trsgdw(lambda t: 0.1 * (1 + jax.lax.axis_index("workers")))
    state = tx.init(PARAMS)
    grads = {"w": jnp.ones((2, 3))}
    update = jax.vmap(
        lambda g: tx.update(g, state, PARAMS)[0], axis_name="workers", axis_size=2
    )
    np.testing.assert_allclose(update(grads)["w"][:, 0], [-0.1 / 1.02, -0.2 / 1.02])


@pytest.mark.parametrize(
    ("name", "arguments", "error", "text"),
    [
        ("proximal", {"strength": 1e40}, ValueError, "not negative in float32, got 1e"),
        ("proximal", {"anchor_step": 1e-50}, ValueError, r"lie in \(0, 1\] in float32"),
        (
            "trsgd",
            {"learning_rate": 1e-10, "lambda_w": 1e35},
            ValueError,
            "lambda_w / learning_rate must be finite .* in float32",
        ),
        ("tradam", {"b1": 1 - 1e-9}, ValueError, r"in \[0, 1\) in float32.*write b1=0"),
        ("tradam", {"b2": 1.0}, ValueError, r"lie in \[0, 1\), got 1\.0; write b2=0"),
        ("tradamw", {"eps": -1e-8}, ValueError, "eps must be finite and not negative"),
        ("trsgd", {"momentum": 1}, ValueError, r"lie in \[0, 1\).*None for none"),
        ("trsgdw", {"nesterov": "no"}, TypeError, "one bool, got 'no'; write nesterov"),
        (
            "proximal",
            {"anchor_step": optax.constant_schedule(0.5)},
            TypeError,
            r"anchor_step takes no schedule.*write optax\.inject_hyperparams\(",
        ),
        (
            "proximal",
            {"anchor_dtype": "float8_e5m2"},
            TypeError,
            "anchor_dtype must be .* 16 bits or more.*write anchor_dtype='bfloat16'",
        ),
        (
            "tradam",
            {"mu_dtype": jnp.float8_e4m3fn},
            TypeError,
            "mu_dtype must be .* 16 bits or more.*write mu_dtype='bfloat16'",
        ),
    ],
)
def test_what_to_write(name, arguments, error, text):
    with pytest.raises(error, match=text):
        begin(name, arguments)


@pytest.mark.parametrize("name", ["proximal", "decoupled_proximal"])
def test_warning_points_at_the_call_of_init(name):
    tx = FACTORIES[name](0.1, anchor_dtype="bfloat16")
    with pytest.warns(UserWarning, match="less precise") as warned:
        tx.init(PARAMS)
    assert warned[0].filename == __file__


def test_dtype_taken_for_a_schedule():
    """``optax.inject_hyperparams`` calls what it can call, and a dtype is a class."""
    injected = optax.inject_hyperparams(prox_optax.tradam)
    with pytest.raises(TypeError, match=r"mu_dtype is an array.*static_args"):
        injected(0.1, mu_dtype=jnp.bfloat16).init(PARAMS)


@pytest.mark.parametrize("b2", [0.9, 0.95, 0.999, 0.999999, np.float32(0.999)])
@pytest.mark.parametrize("reference", [512, 65536, 3.5e6, 10**11, np.int64(2**40)])
def test_rescaled_b2_that_stops_adam(b2, reference):
    """The error tells the smallest batch size: it works, one less does not."""
    with pytest.raises(ValueError, match=r"is 1 in float32.*write batch_size=") as info:
        prox_optax.rescale_b2(b2, 1e-8, reference)
    least = int(re.search(r"write batch_size=(\d+)", str(info.value))[1])
    assert np.float32(prox_optax.rescale_b2(b2, least, reference)) < 1
    assert np.float32(b2 ** ((least - 1) / reference)) == 1


@pytest.mark.parametrize("batch_size", [1, 1.5, np.int32(1), jnp.float32(1)])
def test_rescaled_b2_of_the_report(batch_size):
    with pytest.raises(ValueError, match="Adam would not move"):
        prox_optax.rescale_b2(0.999, batch_size, 65536)


def test_rescaled_b2_of_arrays():
    """Judged where the value is known, and not where it is traced."""
    assert jax.jit(prox_optax.rescale_b2)(0.999, 1.0, 65536.0) == 1
    with pytest.raises(ValueError, match="write batch_size=2 or more"):
        prox_optax.rescale_b2(jnp.float32(0.999), 1, 65536)


@pytest.mark.parametrize("alias", ALIASES)
def test_init_reads_no_number_that_is_an_array(alias):
    """It may lie on other devices, and its value is not judged, as is documented."""
    w = {"w": jnp.ones(2)}
    tx = getattr(prox_optax, alias)(0.1, lambda_w={"w": jnp.array(-1.0)})
    with jax.transfer_guard_device_to_host("disallow"):
        tx.init(w)
    rising = getattr(prox_optax, alias)(
        lambda step: 0.1 + 0 * step, lambda_w={"w": jnp.array(-1.0)}
    )
    rising.init(w)


def test_several_periods_are_told_by_their_shape():
    with pytest.raises(
        TypeError, match=r"period must be one integer, got shape \(2,\)"
    ):
        prox_optax.proximal(period=np.array([0, 1]))


def test_strength_over_a_small_learning_rate():
    """lambda_w / learning rate down to 1e-20, and no pull below."""
    w, goal = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    for rate, pull in ((1e-3, -20.0), (1e-18, -2e16), (1e-21, 0.0)):
        tx = prox_optax.trsgd(lambda t, rate=rate: jnp.float32(rate), lambda_w=0.01)
        tx = optax.chain(tx, optax.scale(1 / rate))
        state = prox_optax.set_anchor(tx.init(w), goal)
        updates, _ = tx.update({"w": jnp.zeros(1)}, state, w)
        np.testing.assert_allclose(-updates["w"], pull, rtol=1e-5)
