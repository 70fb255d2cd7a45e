"""States that come from elsewhere are judged where they are met."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import serialization
from test_contract import ALIASES, FACTORIES, PULLS, make, params_of, step

import prox_optax

W = params_of()


def with_anchor(dtype):
    return lambda state: state._replace(
        anchor=jax.tree.map(lambda a: a.astype(dtype), state.anchor)
    )


def with_fields(**fields):
    return lambda state: state._replace(**fields)


WHOLE = [
    (
        with_anchor(jnp.int32),
        r"anchor\['bias'\] in the state is int32.*no anchor of it",
    ),
    (with_anchor(jnp.complex64), r"anchor\['bias'\] in the state is complex64"),
    (with_anchor(jnp.float16), r"is float16 and this.*keeps it as float32.*restore"),
    (with_fields(step=jnp.float32(1)), r"step is float32\[\].*one integer.*restore"),
    (with_fields(step=jnp.zeros(1, jnp.int32)), r"step is int32\[1\].*one integer"),
    (with_fields(step=None), "step is None.*one integer"),
    (with_fields(step=[0, 1]), r"step is \[0, 1\].*one integer"),
    (with_anchor(jnp.float8_e4m3fn), "is float8_e4m3fn.*no anchor of it"),
]
COMPACT = [
    (with_fields(unit=jnp.zeros(2)), "unit has the value 0.0 and must be positive"),
    (with_fields(unit=jnp.array([1.0, -1.0])), "unit has the value -1.0"),
    (with_fields(unit=jnp.ones(3)), r"unit is float32\[3\] and must be float32\[2\]"),
    (with_fields(unit=jnp.ones(2, int)), r"unit is int32\[2\] and must be float32"),
    (with_fields(unit=None), r"unit is None and must be float32\[2\]"),
    (with_fields(unit=[1.0, 1.0]), r"unit is \[1.0, 1.0\] and must be float32\[2\]"),
    (with_fields(step=None), "step is None.*one integer"),
    (
        lambda state: state._replace(code=jax.tree.map(jnp.float32, state.code)),
        r"code\['bias'\] in the state is float32.*no anchor of it",
    ),
]


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize(("damage", "error"), WHOLE)
def test_damaged_states(pull, damage, error):
    tx = make(pull)
    with pytest.raises(ValueError, match=error):
        tx.update(W, damage(tx.init(W)), W)


@pytest.mark.parametrize("pull", PULLS)
@pytest.mark.parametrize(("damage", "error"), COMPACT)
def test_damaged_compact_states(pull, damage, error):
    tx = make(pull, anchor_dtype="int16")
    with pytest.raises(ValueError, match=error):
        tx.update(W, damage(tx.init(W)), W)


@pytest.mark.parametrize("name", ALIASES)
@pytest.mark.parametrize(
    ("inner_step", "error"),
    [
        (jnp.float32(1), r"inner_step is float32\[\].*one integer.*restore"),
        (jnp.zeros(1, jnp.int32), r"inner_step is int32\[1\].*one integer"),
        (None, "inner_step is None.*one integer"),
    ],
)
def test_damaged_inner_steps(name, inner_step, error):
    tx = make(name)
    state = optax.tree.set(tx.init(W), inner_step=inner_step)
    with pytest.raises(ValueError, match=error):
        tx.update(W, state, W)


@pytest.mark.parametrize("name", ALIASES)
def test_a_state_without_an_inner_decay(name):
    """It was saved with ``period=None``."""
    tx = make(name)
    state = make(name, period=None).init(W)
    with pytest.raises(ValueError, match=r"inner decay.*period=None.*carry_over"):
        tx.update(W, state, W)
    carried = prox_optax.carry_over(state, tx.init(W), step=0)
    np.testing.assert_array_equal(
        step(tx, W, carried)[0]["bias"], step(tx, W, tx.init(W))[0]["bias"]
    )


@pytest.mark.parametrize(
    "read", [prox_optax.get_anchor, prox_optax.anchor_distance, prox_optax.set_anchor]
)
def test_damaged_states_are_not_read(read):
    state = make("proximal").init(W)
    with pytest.raises(ValueError, match="in the state is int32"):
        read(with_anchor(jnp.int32)(state), W)


def test_a_state_of_the_other_kind():
    whole, compact = make("proximal"), make("proximal", anchor_dtype="int16")
    for tx, other in ((whole, compact), (compact, whole)):
        with pytest.raises(ValueError, match=r"the state is a .*State and.*carry_over"):
            tx.update(W, other.init(W), W)


def test_a_wider_anchor_is_kept():
    """Of params in bfloat16, say, whose optimizer was made for float32."""
    tx = make("proximal")
    low = jax.tree.map(jnp.bfloat16, W)
    _, state = step(tx, low, tx.init(W))
    assert state.anchor["bias"].dtype == jnp.float32


def test_x64_on_at_init_and_off_at_update():
    tx = make("proximal")
    with jax.enable_x64(True):
        state = tx.init(params_of(jnp.float64))
    for use in (
        lambda: tx.update(W, state, W),
        lambda: prox_optax.anchor_distance(state, W),
        lambda: prox_optax.get_anchor(state, W),
    ):
        with pytest.raises(ValueError, match=r"is float64.*jax_enable_x64"):
            use()


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dtype", [float, "float64"])
def test_an_anchor_of_float64_without_x64(name, dtype):
    """JAX truncates it, as an array of that dtype: its own state fits."""
    tx, plain = make(name, anchor_dtype=dtype), make(name)
    actual = step(tx, W, tx.init(W))[0]["bias"]
    np.testing.assert_array_equal(actual, step(plain, W, plain.init(W))[0]["bias"])


@pytest.mark.parametrize("name", FACTORIES)
def test_a_state_without_its_types(name):
    """Flax gives dicts back, Orbax lists too."""
    tx = make(name)
    raw = serialization.to_state_dict(tx.init(W))
    error = "checkpoint gives it back without a target.*such as init.*carry_over"
    with pytest.raises(ValueError, match=error):
        tx.update(W, raw, W)
    with pytest.raises(ValueError, match=r"holds no anchor.*restored with a target"):
        prox_optax.set_anchor(raw, W)


def test_a_stack_of_compact_states():
    """The units of one state are not those of the next: no wrong number."""
    ws = jnp.arange(6.0).reshape(2, 3)
    states = jax.vmap(make("proximal", anchor_dtype="int16").init)(ws)
    for read in (prox_optax.anchor_distance, prox_optax.get_anchor):
        with pytest.raises(ValueError, match=r"a stack of states.*jax\.vmap\("):
            read(states, ws)
    distance = jax.vmap(prox_optax.anchor_distance)(states, ws + 1)
    np.testing.assert_allclose(distance.norm, np.full(2, np.sqrt(3)), rtol=1e-3)
    whole = jax.vmap(make("proximal").init)(ws)  # as its distances add up
    with pytest.raises(ValueError, match=r"a stack of states.*jax\.vmap\("):
        prox_optax.anchor_distance(whole, ws + 1)
    np.testing.assert_array_equal(prox_optax.get_anchor(whole, ws + 1), ws)


def test_weakly_typed_state_of_numbers():
    """Restored as NumPy arrays and numbers, it goes on."""
    tx = optax.chain(make("proximal"), optax.scale(-0.1))
    w, state = step(tx, W, tx.init(W))
    thawed = jax.tree.map(np.asarray, state)
    np.testing.assert_array_equal(
        step(tx, w, thawed)[0]["bias"], step(tx, w, state)[0]["bias"]
    )
