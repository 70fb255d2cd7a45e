"""What an optax user expects, asked of every public transformation.

The table is derived from ``__all__``: a new public transformation is tested by itself.
"""

import inspect
import pickle
import re
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import prox_optax

FACTORIES = {
    name: getattr(prox_optax, name)
    for name in prox_optax.__all__
    if inspect.signature(getattr(prox_optax, name)).return_annotation
    is optax.GradientTransformationExtraArgs
}
ALIASES = [
    name
    for name, factory in FACTORIES.items()
    if next(iter(inspect.signature(factory).parameters)) == "learning_rate"
]
WEIGHTED = [name for name in FACTORIES if name != "outer"]  # with a strength
PULLS = sorted(set(WEIGHTED) - set(ALIASES))
PERIOD = 3
STEPS = 2 * PERIOD + 2
OUTSIDE = {"optimizer": optax.sgd(0.7, momentum=0.9, nesterov=True)}


def make(name, **kwargs):
    if name in ALIASES:
        kwargs.setdefault("learning_rate", 0.1)
    if name == "outer":
        kwargs = {**OUTSIDE, **kwargs}
        if kwargs.pop("anchor_dtype", None) is not None:
            pytest.skip("outer adds to its anchor, which is kept whole")
    return FACTORIES[name](**{"period": PERIOD, **kwargs})


def weight_name(name):
    if name not in WEIGHTED:
        pytest.skip("outer has no strength")
    return "strength" if name == "proximal" else "lambda_w"


@pytest.fixture(params=FACTORIES)
def name(request):
    return request.param


@pytest.fixture(params=[None, "int16"], ids=["whole", "int16"])
def anchor_dtype(request):
    return request.param


@pytest.fixture
def tx(name, anchor_dtype):
    return make(name, anchor_dtype=anchor_dtype)


@pytest.fixture
def whole(name):
    """Whose anchor can be set."""
    return make(name)


def params_of(dtype=jnp.float32):
    key = jax.random.key(0)
    return {
        "bias": jax.random.normal(key, (3,), dtype),
        "kernel": jax.random.normal(key, (2, 3), dtype),
    }


def gradient(w):
    return jax.tree.map(lambda x: (0.5 * x + jnp.sign(x)).astype(x.dtype), w)


def step(tx, w, state, **extra):
    updates, state = tx.update(gradient(w), state, w, **extra)
    return optax.apply_updates(w, updates), state


def train(tx, w, steps=STEPS, state=None):
    """Params and state after jit-compiled steps."""
    compiled = jax.jit(lambda w, state: step(tx, w, state))
    state = tx.init(w) if state is None else state
    for _ in range(steps):
        w, state = compiled(w, state)
    return w, state


def _is_state(node):
    kinds = prox_optax.ProximalState, prox_optax.CompactState, prox_optax.OuterState
    return isinstance(node, kinds)


def proximal_states(state):
    return [x for x in jax.tree.leaves(state, is_leaf=_is_state) if _is_state(x)]


def shapes(tree):
    return jax.tree.map(lambda x: (jnp.shape(x), x.dtype, x.weak_type), tree)


def test_the_table_is_complete():
    assert sorted(PULLS) == ["decoupled_proximal", "proximal"]
    assert sorted(ALIASES) == ["tradam", "tradamw", "trsgd", "trsgdw"]
    assert FACTORIES.keys() - WEIGHTED == {"outer"}


def test_type_and_extra_args(tx):
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    w = params_of()
    chex.assert_trees_all_equal(
        step(tx, w, tx.init(w), value=1.0), step(tx, w, tx.init(w))
    )


def test_state_holds_arrays_only_in_pinned_fields(tx):
    assert prox_optax.ProximalState._fields == ("anchor", "step")
    assert prox_optax.CompactState._fields == ("code", "unit", "step")
    assert prox_optax.OuterState._fields == ("anchor", "outer_state", "step")
    state = train(tx, params_of())[1]
    assert len(proximal_states(state)) == 1
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))


def test_no_second_count_in_the_state(name):
    """``count`` stays unique, as in the base optimizer."""
    chained = optax.chain(make(name), optax.scale_by_schedule(lambda t: 1.0))
    state = chained.init(params_of())
    ours = [
        path
        for path, _ in optax.tree.get_all_with_path(state, "count")
        if "ScaleByAdam" not in str(path)
    ]
    assert len(ours) == 1


@pytest.mark.slow
def test_counter_stays_in_the_period(name, anchor_dtype):
    """With a constant strength."""
    for period in (1, PERIOD):
        tx = make(name, period=period, anchor_dtype=anchor_dtype)
        w = params_of()
        state = tx.init(w)
        for t in range(STEPS):
            k = proximal_states(state)[0].step
            assert int(k % period) == t % period
            assert 0 <= int(k) < period
            w, state = step(tx, w, state)


@pytest.mark.slow
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "schedule"])
def test_two_to_the_31_steps_change_nothing(name, constant, anchor_dtype):
    """A counter that started near its end makes the same trajectory."""
    schedule = {} if constant else {weight_name(name): lambda t: 0.1}
    tx = make(name, anchor_dtype=anchor_dtype, **schedule)
    steps = 4 * PERIOD
    late = (2**31 - 1 - steps // 2) // PERIOD * PERIOD
    start = 0 if constant else late

    def near_the_end(state):
        return jax.tree.map(
            lambda x: x._replace(step=jnp.int32(start)) if _is_state(x) else x,
            state,
            is_leaf=_is_state,
        )

    w = params_of()
    early_w, early = train(tx, w, steps)
    late_w, late = train(tx, w, steps, near_the_end(tx.init(w)))

    chex.assert_trees_all_equal(late_w, early_w)
    assert (int(proximal_states(late)[0].step) - steps) % PERIOD == 0
    chex.assert_trees_all_equal(
        proximal_states(late)[0][:-1], proximal_states(early)[0][:-1]
    )


@pytest.mark.parametrize("pull", PULLS)
def test_strength_zero_leaves_updates_untouched(pull):
    """0 * inf is NaN and -0.0 + 0.0 is 0.0: neither may happen."""
    w = {"w": jnp.array([jnp.inf, -jnp.inf, 1.0, jnp.nan, 1e38])}
    g = {"w": jnp.array([-0.0, 1.0, -0.0, 2.0, -0.0])}
    goal = {"w": jnp.zeros(5)}
    for zero in (0, 0.0, lambda t: 0.0 * t, {"w": jnp.zeros(5)}):
        tx = make(pull, **{weight_name(pull): zero})
        state = prox_optax.set_anchor(tx.init(w), goal)
        updates, _ = jax.jit(tx.update)(g, state, w)
        assert _bits(updates["w"]) == _bits(g["w"])


def _bits(x):
    return np.asarray(x).tobytes()


@pytest.mark.parametrize("name", WEIGHTED)
def test_schedule_starts_at_zero_and_counts_every_step(name):
    seen = []

    def schedule(t):
        seen.append(int(t))
        return 0.1

    tx = make(name, **{weight_name(name): schedule})
    w = params_of()
    state = tx.init(w)
    seen.clear()
    for _ in range(STEPS):
        w, state = step(tx, w, state)
    assert seen == list(range(STEPS))


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("period", [PERIOD, None])
def test_learning_rate_that_reaches_zero(alias, period):
    values = jnp.array([0.0, 0.1, 1e-18, 1e-42, 0.1, 0.0, 0.1, 0.0])
    tx = make(alias, learning_rate=lambda t: values[t], lambda_w=0.02, period=period)
    w = params_of()
    state = tx.init(w)
    for _ in range(8):
        w, state = train(tx, w, 1, state)
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves((w, state)))


@pytest.mark.slow
@pytest.mark.parametrize("name", WEIGHTED)
def test_inject_hyperparams_and_vmap_over_numbers(name):
    """Traced numbers give what baked-in ones do, in one compilation for a sweep."""
    weight = weight_name(name)
    traces: list[None] = []

    @jax.jit
    def swept(number, period):
        traces.append(None)
        tx = make(name, **{weight: number, "period": period})
        state = tx.init(params_of())
        return jax.lax.fori_loop(
            0, STEPS, lambda _, c: step(tx, *c), (params_of(), state)
        )[0]

    numbers, periods = jnp.array([0.0, 0.05, 0.3]), jnp.array([1, 2, 5])
    lanes = jax.vmap(swept)(numbers, periods)
    for i, (number, period) in enumerate(zip(numbers, periods, strict=True)):
        kwargs = {weight: float(number), "period": int(period)}
        expected, _ = train(make(name, **kwargs), params_of())
        # Traced and constant numbers are folded differently by XLA.
        chex.assert_trees_all_close(
            jax.tree.map(lambda x, i=i: x[i], lanes), expected, rtol=1e-5, atol=1e-6
        )
        if name in ALIASES:
            kwargs["learning_rate"] = 0.1
        injected = optax.inject_hyperparams(FACTORIES[name])(**kwargs)
        w, state = train(injected, params_of())
        # optax raises a traced b2 to its powers in float32, a constant in float64.
        chex.assert_trees_all_close(w, expected, rtol=1e-4, atol=1e-5)
        assert float(state.hyperparams[weight]) == pytest.approx(float(number))
    assert len(traces) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_dtypes_are_stable(name, dtype):
    tx, w = make(name), params_of(dtype)
    state = tx.init(w)
    updates, new_state = tx.update(gradient(w), state, w)
    chex.assert_trees_all_equal_dtypes(updates, w)
    chex.assert_trees_all_equal_shapes_and_dtypes(new_state, state)
    assert proximal_states(state)[0].step.dtype == jnp.int32
    assert proximal_states(state)[0].anchor["bias"].dtype == jnp.dtype(dtype)


@pytest.mark.parametrize("pull", PULLS)
def test_mixed_precision_keeps_the_gradients_dtype(pull):
    w = params_of()
    tx = make(pull)
    low = jax.tree.map(lambda g: g.astype(jnp.bfloat16), gradient(w))
    updates, state = tx.update(low, tx.init(w), w)
    chex.assert_trees_all_equal_dtypes(updates, low)
    assert state.anchor["bias"].dtype == jnp.float32


@pytest.mark.parametrize("pull", PULLS)
def test_low_precision_is_computed_in_float32(pull):
    """One rounding at the end: closer to float64 than bfloat16 arithmetic is."""
    rng = np.random.default_rng(0)
    u, w, a = (jnp.asarray(rng.normal(size=1000), jnp.bfloat16) for _ in range(3))
    tx = make(pull, **{weight_name(pull): 0.3})
    actual, _ = tx.update(u, prox_optax.set_anchor(tx.init(w), a), w)
    u64, w64, a64 = (np.asarray(x, np.float64) for x in (u, w, a))
    exact, naive = (
        (u64 + 0.6 * (w64 - a64), u + 0.6 * (w - a))
        if pull == "proximal"
        else ((u64 - 0.6 * (w64 - a64)) / 1.6, (u - 0.6 * (w - a)) / 1.6)
    )
    half_unit = 2.0**-8 * np.abs(exact) * (1 + 1e-3)
    assert np.all(np.abs(np.asarray(actual, np.float64) - exact) <= half_unit)
    assert not np.all(np.abs(np.asarray(naive, np.float64) - exact) <= half_unit)


def test_float64(tx):
    with jax.enable_x64(True):
        w = params_of(jnp.float64)
        state = tx.init(w)
        w_1, state_1 = train(tx, w, 1, state)
        chex.assert_trees_all_equal_shapes_and_dtypes((w_1, state_1), (w, state))


def test_state_is_strongly_typed(tx):
    state = tx.init({"w": jnp.asarray(1.0)})
    (ours,) = proximal_states(state)
    assert not any(x.weak_type for x in jax.tree.leaves(ours))


@pytest.mark.parametrize("name", FACTORIES)
def test_weakly_typed_params_compile_twice(name):
    """Once for the weak type given, once for the strong type that an update makes."""
    tx = make(name)

    @jax.jit
    def compiled(w, state):  # the gradient is weakly typed, too
        updates, state = tx.update(jax.tree.map(lambda x: 2 * x, w), state, w)
        return optax.apply_updates(w, updates), state

    w = {"w": jnp.asarray(1.0)}
    state = tx.init(w)
    for _ in range(STEPS):
        w, state = compiled(w, state)
    assert compiled._cache_size() == 2  # type: ignore[attr-defined]


def test_python_scalars_are_params(tx):
    train(tx, {"w": 1.0})


def test_none_update_is_legal(name, tx):
    w = params_of()
    grads = {"bias": None, "kernel": w["kernel"]}
    if "adam" in name:
        base = optax.adam(0.1)
        try:
            base.update(grads, base.init(w), w)
        except ValueError:
            pytest.skip("optax.adam itself rejects a None update")
    updates, _ = tx.update(grads, tx.init(w), w)
    assert updates["bias"] is None
    assert updates["kernel"].shape == (2, 3)


def test_anchor_is_a_copy(whole):
    """Eager init, then donation of params and state, also after ``set_anchor``."""
    tx, w = whole, params_of()
    state = tx.init(w)
    for new in (state, prox_optax.set_anchor(state, w)):
        anchor = proximal_states(new)[0].anchor
        assert anchor["bias"].unsafe_buffer_pointer() != (
            w["bias"].unsafe_buffer_pointer()
        )
    donating = jax.jit(lambda w, state: step(tx, w, state), donate_argnums=(0, 1))
    for _ in range(STEPS):
        w, state = donating(w, state)
    w, state = donating(w, prox_optax.set_anchor(state, w))


def abstract_init(tx, w):
    """Return a state made of shapes; ``outer`` needs ``set_anchor`` to take its own."""
    state = tx.init(jax.eval_shape(lambda: w))
    is_outer = isinstance(state, prox_optax.OuterState)
    return prox_optax.set_anchor(state, w) if is_outer else state


def test_abstract_init(tx):
    w = params_of()
    abstract = abstract_init(tx, w)
    assert shapes(abstract) == shapes(tx.init(w))
    chex.assert_trees_all_equal(train(tx, w, state=abstract)[0], train(tx, w)[0])


@pytest.mark.parametrize("pull", PULLS)
def test_abstract_anchor_is_first_taken_whole(pull):
    w = params_of()
    tx = make(pull, anchor_step=0.5)
    abstract = tx.init(jax.eval_shape(lambda: w))
    chex.assert_trees_all_equal(train(tx, w, state=abstract)[0], train(tx, w)[0])


def test_abstract_anchor_that_is_never_taken_shows():
    tx = prox_optax.proximal(period=None)
    state = tx.init({"w": jax.ShapeDtypeStruct((2,), jnp.float32)})
    updates, _ = tx.update({"w": jnp.ones(2)}, state, {"w": jnp.ones(2)})
    assert not jnp.any(jnp.isfinite(updates["w"]))


@pytest.mark.parametrize("per_parameter", [False, True])
def test_tree_map_params(name, per_parameter, anchor_dtype):
    tree = {"bias": 0.1, "kernel": jnp.full((2, 3), 0.1)}
    weights = {weight_name(name): tree} if per_parameter else {}
    tx = make(name, anchor_dtype=anchor_dtype, **weights)
    state = tx.init(params_of())
    specs = {"bias": "bias spec", "kernel": "kernel spec"}
    state_specs = optax.tree_map_params(tx, lambda _, spec: spec, state, specs)
    (ours,) = proximal_states(state_specs)
    assert ours[0] == specs
    if name == "outer":
        trace = ours.outer_state[0].trace
        assert trace == specs
        ours = ours._replace(outer_state=ours.step)
    assert all(isinstance(x, jax.Array) for x in ours[1:])


def test_period_one_is_the_base_optimizer():
    """Bit for bit, -0.0 and inf included; through momentum and moments."""
    w = {"w": jnp.array([-0.0, 0.0, 1.0, -2.5, jnp.inf])}

    def gradient_of(t):
        return {"w": jnp.array([-0.0, 0.0, -0.0, 0.3, 1.0]) * (-1.0) ** t}

    for base in (optax.identity(), optax.sgd(0.1, 0.9), optax.adam(0.1)):
        for pull in (
            prox_optax.proximal(0.7, period=1),
            prox_optax.proximal(0.7, period=1, anchor_dtype="int16"),
            prox_optax.proximal(0.0),
            optax.inject_hyperparams(prox_optax.proximal)(0.7, period=1),
        ):
            both = [(w, base.init(w)), (w, optax.chain(pull, base).init(w))]
            for t in range(4):
                for i, tx in enumerate((base, optax.chain(pull, base))):
                    w_t, state = both[i]
                    updates, state = tx.update(gradient_of(t), state, w_t)
                    both[i] = optax.apply_updates(w_t, updates), state
                assert _bits(both[0][0]["w"]) == _bits(both[1][0]["w"])


@pytest.mark.parametrize("base", ALIASES)
def test_without_pull_and_decay_an_alias_is_its_base(base):
    bases = {
        "trsgd": optax.sgd(0.1),
        "trsgdw": optax.sgd(0.1),
        "tradam": optax.adam(0.1),
        "tradamw": optax.adamw(0.1, weight_decay=0.0),
    }
    w = params_of()
    for period in (1, None):
        actual, _ = train(make(base, lambda_w=0.0, period=period), w)
        # XLA fuses the last addition differently: a unit in the last place or two.
        chex.assert_trees_all_close(
            actual, train(bases[base], w)[0], rtol=5e-7, atol=1e-7
        )


@pytest.mark.parametrize("name", WEIGHTED)  # of outer: test_outer
def test_memory(tx, anchor_dtype):
    """One extra copy of the params; donated, no temporary of their size.

    But that a CPU's compiler writes the displacements of an int16 anchor down, 2 bytes
    each, for the largest of them; that of jax 0.8 writes the float32 ones down too.
    """
    w = {"w": jnp.ones((256, 256)), "b": jnp.ones(256)}
    state = tx.init(w)
    (ours,) = proximal_states(state)
    assert len(jax.tree.leaves(ours)) == len(w) + len(ours[1:])

    compiled = (
        jax.jit(
            lambda w, state, g: (lambda new: (optax.apply_updates(w, new[0]), new[1]))(
                tx.update(g, state, w)
            ),
            donate_argnums=(0, 1),
        )
        .lower(w, state, w)
        .compile()
    )

    leaf = 256 * 256 * 4
    as_int16 = leaf / 2 if jax.__version_info__ >= (0, 10) else 3 * leaf / 2
    allowed = as_int16 if anchor_dtype else 0
    assert compiled.memory_analysis().temp_size_in_bytes < allowed + leaf / 100
    entry = compiled.as_text().split("ENTRY")[1]
    assert not re.search(r"(f32|s16)\[256,256\]\S* copy\(", entry)
    # The anchor is written in a branch, so not at all on an ordinary step.
    assert len(re.findall(r" conditional\(", entry)) == 1


def test_pickled_state_goes_on(tx):
    w, state = train(tx, params_of(), PERIOD + 1)
    thawed = pickle.loads(pickle.dumps(jax.device_get(state)))
    chex.assert_trees_all_equal(train(tx, w, state=thawed), train(tx, w, state=state))


@pytest.mark.slow
def test_nnx_optimizer(tx):
    """``init`` sees ``nnx.Param`` leaves and ``update`` plain arrays."""
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    w = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    for _ in range(STEPS):
        grads = jax.tree.map(gradient, nnx.state(model, nnx.Param))
        optimizer.update(model, grads)
    expected = w
    state = tx.init(w)
    for _ in range(STEPS):
        expected, state = step(tx, expected, state)
    chex.assert_trees_all_equal(nnx.to_pure_dict(nnx.state(model, nnx.Param)), expected)

    distance = prox_optax.anchor_distance(
        optimizer.opt_state, nnx.state(model, nnx.Param)
    )
    chex.assert_trees_all_equal(
        distance[:2], prox_optax.anchor_distance(state, expected)[:2]
    )


def test_set_anchor_of_an_nnx_optimizer(whole):
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, whole, wrt=nnx.Param)
    goal = jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param))
    optimizer.opt_state = prox_optax.set_anchor(optimizer.opt_state, goal)
    anchor = proximal_states(optimizer.opt_state)[0].anchor
    assert not any(jnp.any(a) for a in jax.tree.leaves(anchor))


def test_annotations_are_objects():
    package = Path(prox_optax.__file__).parent
    assert (package / "py.typed").exists()
    for source in package.glob("*.py"):
        assert "from __future__ import annotations" not in source.read_text()


def test_defaults():
    """A change of one needs a benchmark that says why."""
    expected: dict[str, dict[str, object]] = {
        "proximal": {"strength": 0.1, "period": 10, "anchor_step": 1.0},
        "decoupled_proximal": {"lambda_w": 0.01, "period": 10, "anchor_step": 1.0},
        "trsgd": {"momentum": None, "lambda_w": None, "period": 10},
        "trsgdw": {"momentum": None, "lambda_w": 0.01, "period": 10},
        "tradam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "lambda_w": None},
        "tradamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "lambda_w": 0.01},
    }
    for name, defaults in expected.items():
        parameters = inspect.signature(FACTORIES[name]).parameters
        assert {key: parameters[key].default for key in defaults} == defaults
        assert parameters["anchor_dtype"].default is None
    for alias in ALIASES:
        assert (
            inspect.signature(FACTORIES[alias]).parameters["weight_decay"].default == 0
        )


@pytest.mark.parametrize(
    ("alias", "base", "kwargs"),
    [
        ("trsgd", optax.sgd, {"momentum": 0.9, "nesterov": True}),
        ("trsgd", optax.sgd, {"momentum": 0.9, "accumulator_dtype": "bfloat16"}),
        ("trsgdw", optax.sgd, {"momentum": 0.9, "nesterov": True}),
        ("trsgdw", optax.sgd, {"momentum": 0.9, "accumulator_dtype": "bfloat16"}),
        *(
            (alias, base, kwargs)
            for alias, base in (("tradam", optax.adam), ("tradamw", optax.adamw))
            for kwargs in (
                {"b1": 0.5, "b2": 0.9},
                {"eps": 0.1, "eps_root": 0.2},
                {"mu_dtype": "bfloat16"},
                {"nesterov": True},
            )
        ),
    ],
)
def test_arguments_of_the_base_reach_it(alias, base, kwargs):
    """Without a pull and with an anchor that stays, an alias is its base."""
    decay = {"weight_decay": 0.1} if alias == "tradamw" else {}
    w = params_of()
    tx = make(alias, lambda_w=0.0, period=None, **kwargs, **decay)
    actual, state = train(tx, w)
    expected, base_state = train(base(0.1, **kwargs, **decay), w)
    # XLA fuses the last addition differently: a unit in the last place or two.
    chex.assert_trees_all_close(actual, expected, rtol=1e-6, atol=1e-6)
    dtypes = [
        sorted(str(x.dtype) for x in jax.tree.leaves(s)) for s in (state, base_state)
    ]
    extra = ["float32", "float32", "int32"]  # the anchor's two leaves and its counter
    assert dtypes[0] == sorted(dtypes[1] + extra)
