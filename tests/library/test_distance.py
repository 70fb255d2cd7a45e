"""``anchor_distance`` and ``pull_ratio`` against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from test_contract import FACTORIES, PERIOD, gradient, make, params_of

import prox_optax

# Sums of a few float32 squares: the library adds them in another order than NumPy.
ROUNDING = {"rtol": 1e-6}


def oracle(w, a):
    """Norm and relative norm of w - a, both lists of arrays taken as one vector."""
    w, a = (np.concatenate([np.ravel(x) for x in xs]).astype(complex) for xs in (w, a))
    norm = np.sqrt(np.sum(np.abs(w - a) ** 2))
    size = max(np.sqrt(np.sum(np.abs(x) ** 2)) for x in (w, a))
    return norm, norm / size if size else 0.0


def check(distance, w, a):
    np.testing.assert_allclose(
        (distance.norm, distance.relative),
        oracle(list(w.values()), list(a.values())),
        **ROUNDING,
    )
    for leaf in w:
        actual = distance.leaf_norm[leaf], distance.leaf_relative[leaf]
        np.testing.assert_allclose(actual, oracle([w[leaf]], [a[leaf]]), **ROUNDING)


def anchored_at(tx, a):
    return prox_optax.set_anchor(tx.init(a), a)


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_distance_follows_the_oracle(name, dtype):
    a = params_of(dtype)
    w = jax.tree.map(lambda x: (1.5 * x + 0.25).astype(dtype), a)
    state = anchored_at(make(name), a)
    distance = jax.jit(prox_optax.anchor_distance)(state, w)
    assert {x.dtype for x in jax.tree.leaves(distance)} == {jnp.dtype("float32")}
    check(distance, w, a)


@pytest.mark.parametrize("anchor_dtype", [None, "float32"])
def test_low_precision_is_measured_in_float32(anchor_dtype):
    a = jax.random.normal(jax.random.key(0), (1000,), jnp.bfloat16)
    w = a * jnp.bfloat16(1.1)
    state = anchored_at(prox_optax.proximal(anchor_dtype=anchor_dtype), a)
    expected, _ = oracle([w], [a])
    actual = prox_optax.anchor_distance(state, w).norm
    np.testing.assert_allclose(actual, expected, **ROUNDING)
    naive = optax.tree.norm(w - a)
    assert abs(float(naive) - expected) > 1e-4 * expected


def test_float64():
    with jax.enable_x64(True):
        a, w = jnp.ones(3), jnp.ones(3) + 1e-12
        distance = prox_optax.anchor_distance(prox_optax.proximal().init(a), w)
        assert distance.norm.dtype == jnp.float64
        # w itself is rounded to 1.1e-16, a relative 1e-4 of the difference.
        np.testing.assert_allclose(distance.norm, 1e-12 * np.sqrt(3), rtol=2e-4)


def test_nothing_over_nothing_is_zero():
    """A bias that starts at 0, and its first steps."""
    zero = {"b": jnp.zeros(2)}
    state = make("tradam").init(zero)
    distance = prox_optax.anchor_distance(state, {"b": jnp.ones(2)})
    relative = distance.relative, distance.leaf_relative["b"]
    np.testing.assert_allclose(relative, 1.0, **ROUNDING)  # a GPU's x / x is not 1
    with jax.debug_nans(True):
        assert jax.tree.leaves(prox_optax.anchor_distance(state, zero)) == [0.0] * 4
        assert float(prox_optax.pull_ratio(state, zero, zero, 0.1)) == 0.0
    assert float(prox_optax.pull_ratio(state, {"b": jnp.ones(2)}, zero, 1)) == np.inf


def test_masked_leaves_are_left_out():
    w = {"encoder": params_of(), "head": jnp.ones(2)}
    tx = optax.masked(make("proximal"), {"encoder": True, "head": False})
    distance = prox_optax.anchor_distance(tx.init(w), jax.tree.map(jnp.zeros_like, w))
    check(
        distance._replace(
            leaf_norm=distance.leaf_norm["encoder"],
            leaf_relative=distance.leaf_relative["encoder"],
        ),
        jax.tree.map(jnp.zeros_like, w["encoder"]),
        w["encoder"],
    )
    assert distance.leaf_norm["head"] == optax.MaskedNode()
    assert distance.leaf_relative["head"] == optax.MaskedNode()


def test_partition_has_the_anchors_of_all_parts():
    a = params_of()
    w = jax.tree.map(lambda x: x + 1, a)
    tx = optax.partition(
        {"fast": make("trsgd"), "slow": make("tradamw")},
        {"bias": "fast", "kernel": "slow"},
    )
    check(jax.jit(prox_optax.anchor_distance)(tx.init(a), w), w, a)


def test_inside_wrappers():
    a = params_of()
    w = jax.tree.map(lambda x: x + 1, a)
    injected = optax.inject_hyperparams(prox_optax.trsgd)(0.1, lambda_w=0.01)
    for tx in (
        optax.chain(optax.clip(1.0), make("tradam")),
        injected,
        optax.apply_if_finite(make("trsgd"), 3),
        optax.MultiSteps(make("trsgdw"), 2),
    ):
        check(prox_optax.anchor_distance(tx.init(a), w), w, a)


def test_nnx_optimizer():
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make("tradam"), wrt=nnx.Param)
    a = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    grads = jax.tree.map(gradient, nnx.state(model, nnx.Param))
    optimizer.update(model, grads)
    state = nnx.state(model, nnx.Param)
    distance = prox_optax.anchor_distance(optimizer.opt_state, state)
    w = nnx.to_pure_dict(state)
    np.testing.assert_allclose(
        distance.norm, oracle(list(w.values()), list(a.values()))[0], **ROUNDING
    )
    ratio = prox_optax.pull_ratio(optimizer.opt_state, state, grads, 0.5)
    gradient_norm = float(optax.tree.norm(grads))
    np.testing.assert_allclose(ratio, distance.norm / gradient_norm, **ROUNDING)


def test_lanes():
    a = jnp.arange(12.0).reshape(4, 3)
    state = jax.vmap(make("trsgd").init)(a)
    distance = jax.vmap(prox_optax.anchor_distance)(state, a + 2)
    np.testing.assert_allclose(distance.norm, np.full(4, 2 * np.sqrt(3)), **ROUNDING)


@pytest.mark.parametrize("name", ["trsgd", "outer"])
def test_a_stack_of_states_is_refused(name):
    """Its distances would be added up, those of runs that do not know each other."""
    a = jnp.arange(12.0).reshape(4, 3)
    state = jax.vmap(make(name).init)(a)
    for read in (
        prox_optax.anchor_distance,
        lambda state, w: prox_optax.pull_ratio(state, w, w, 0.1),
    ):
        with pytest.raises(ValueError, match=r"a stack of states.*write jax\.vmap"):
            read(state, a + 2)


def test_ratio_with_a_strength_of_16_bits():
    """2 x 40,000 is no number in float16."""
    state = make("proximal").init(jnp.zeros(1))
    far, g = jnp.ones(1), jnp.full(1, 80_000.0)
    assert prox_optax.pull_ratio(state, far, g, jnp.float16(40_000)) == 1


@pytest.mark.usefixtures("cpu")
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_sharded_otherwise_than_the_params(axis_type):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis_type,))
    w = jnp.arange(64.0).reshape(8, 8)
    with jax.set_mesh(mesh):
        state = prox_optax.proximal().init(w)
        rows = NamedSharding(mesh, P("data", None))
        state = state._replace(anchor=jax.device_put(state.anchor, rows))
        columns = jax.device_put(w + 1, NamedSharding(mesh, P(None, "data")))
        distance = jax.jit(prox_optax.anchor_distance)(state, columns)
        ratio = jax.jit(prox_optax.pull_ratio)(state, columns, columns, 0.5)
    np.testing.assert_allclose(distance.norm, 8.0, **ROUNDING)
    np.testing.assert_allclose(ratio, 8.0 / np.linalg.norm(w + 1), **ROUNDING)


@pytest.mark.parametrize("weights", ["number", "tree"])
def test_ratio_is_that_of_the_pull_that_was_added(weights):
    """State after the update, params and gradients before it."""
    strength = 0.3
    if weights == "tree":
        strength = {"bias": 0.3, "kernel": jnp.full((2, 3), 0.1)}
    tx = prox_optax.proximal(strength, period=PERIOD)
    trained = optax.chain(tx, optax.sgd(0.1))
    w, state = params_of(), trained.init(params_of())
    ratios = []
    for _ in range(2 * PERIOD):
        g = gradient(w)
        pulled, _ = tx.update(g, state[0], w)
        updates, state = trained.update(g, state, w)
        ratios.append(jax.jit(prox_optax.pull_ratio)(state, w, g, strength))
        expected = optax.tree.norm(optax.tree.sub(pulled, g)) / optax.tree.norm(g)
        # pulled - g cancels: its error is a rounding of g, the ratios are > 0.01.
        np.testing.assert_allclose(ratios[-1], expected, rtol=1e-4, atol=1e-7)
        w = optax.apply_updates(w, updates)
    assert [r == 0 for r in ratios] == [True, False, False] * 2


@pytest.mark.parametrize("name", ["trsgdw", "tradamw"])
def test_ratio_of_the_decoupled_aliases(name):
    """With r = 2 lambda_w / (k + 1): r |w - a| / |u|, u after the inner decay."""
    lambda_w = 0.3
    base = {"trsgdw": optax.sgd, "tradamw": optax.adamw}[name]
    decay = {"weight_decay": 0.0} if name == "tradamw" else {}
    tx, alone = make(name, lambda_w=lambda_w, **decay), base(0.1, **decay)
    w, state, alone_state = params_of(), tx.init(params_of()), alone.init(params_of())
    for k in range(PERIOD):
        step, alone_state = alone.update(gradient(w), alone_state, w)
        u = jax.tree.map(lambda x, k=k: x / (k + 1), step)
        updates, state = tx.update(gradient(w), state, w)
        ratio = prox_optax.pull_ratio(state, w, u, lambda_w / (k + 1))
        # updates = (u - pull) / (1 + r)
        r = 2 * lambda_w / (k + 1)
        pull = jax.tree.map(lambda u, x, r=r: u - (1 + r) * x, u, updates)
        expected = optax.tree.norm(pull) / optax.tree.norm(u)
        # A difference of two numbers of the size of u: a rounding of it.
        np.testing.assert_allclose(ratio, expected, rtol=1e-4, atol=1e-6)
        w = optax.apply_updates(w, updates)
    assert ratio > 0.1


def test_ratio_leaves_masked_leaves_out():
    w = {"bias": jnp.ones(1), "kernel": jnp.ones(4)}
    tx = optax.masked(make("proximal"), {"bias": False, "kernel": True})
    state = tx.init(jax.tree.map(jnp.zeros_like, w))
    g = {"bias": jnp.full(1, 100.0), "kernel": jnp.full(4, 2.0, jnp.bfloat16)}
    ratio = prox_optax.pull_ratio(state, w, g, 0.5)
    assert (float(ratio), ratio.dtype) == (0.5, jnp.float32)


@pytest.mark.skipif(
    jax.__version_info__ < (0, 10),
    reason="XLA of jaxlib 0.8.2 does not fuse a difference into its norm on CPU",
)
def test_distance_adds_no_buffer_of_the_params_size():
    w = {"w": jnp.ones((256, 256))}
    state = make("proximal").init(w)
    compiled = jax.jit(prox_optax.anchor_distance).lower(state, w).compile()
    # A GPU's reductions keep partial sums, here 3.6 of 262 kB.
    assert compiled.memory_analysis().temp_size_in_bytes < 256 * 256 * 4 / 10


def test_errors():
    w = params_of()
    state = make("proximal").init(w)
    with pytest.raises(ValueError, match="holds no anchor"):
        prox_optax.anchor_distance(optax.adam(0.1).init(w), w)
    with pytest.raises(ValueError, match=r"leaf \['kernel'\] is missing"):
        prox_optax.anchor_distance(state, {"bias": w["bias"]})
    twice = optax.chain(make("proximal"), make("trsgd")).init(w)
    with pytest.raises(ValueError, match=r"params\['bias'\] has two anchors"):
        prox_optax.anchor_distance(twice, w)
    check(prox_optax.anchor_distance(twice[1], w), w, w)
    with pytest.raises(TypeError, match="strength must be a real number"):
        prox_optax.pull_ratio(state, w, w, "strong")
    with pytest.raises(TypeError, match="its value at the step"):
        prox_optax.pull_ratio(state, w, w, lambda t: 0.1)
    with pytest.raises(ValueError, match="gradients do not fit the params: leaf"):
        prox_optax.pull_ratio(state, w, {"bias": w["bias"]}, 0.1)
    with pytest.raises(ValueError, match=r"the update of leaf \['bias'\] has shape"):
        prox_optax.pull_ratio(state, w, {**w, "bias": w["kernel"]}, 0.1)
