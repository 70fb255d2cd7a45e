"""Networks: sizes, types, and statistics that the loop carries but does not train."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from test_loop import (
    EPOCHS,
    RATES,
    SEEDS,
    STEPS,
    python_loop,
    trainer,
    trials_of,
)

from benchmarks import models
from benchmarks.data.image_set import Split
from benchmarks.experiments import classify
from benchmarks.models import implicit_gemm, resnet
from benchmarks.optimizers.method import Method
from benchmarks.runs import grid
from benchmarks.tasks import classify as classifying
from benchmarks.tasks import problem
from benchmarks.training import loop
from benchmarks.training.keys import order_key
from benchmarks.training.noise import Noise

NORMS = ("batch", "group")
PUBLISHED_PARAMETERS = 11_173_962
RNGS = partial(nnx.Rngs, 0)


def abstract(norm="batch", **arguments):
    """Return the network as shapes and dtypes; nothing is computed."""
    return nnx.eval_shape(
        lambda: models.ResNet18(10, norm=norm, rngs=nnx.Rngs(0), **arguments)
    )


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("norm", NORMS)
def test_parameter_count_is_the_published_one(norm):
    _, params, stats = problem.split_model(abstract(norm))
    assert size(params) == PUBLISHED_PARAMETERS
    # a mean and a variance a channel: the stem, and 2 + 2 + the shortcut a stage
    channels = 5 * 64 + 5 * 128 + 5 * 256 + 5 * 512
    assert size(stats) == (2 * channels if norm == "batch" else 0)


@pytest.mark.parametrize("width", [4, 5, 6, 8, 12])
def test_groups_divide_the_channels(width):
    model = abstract("group", width=width)
    groups = [model.norm.num_groups, *(b.norm1.num_groups for b in model.blocks)]
    assert all(width % groups[0] == 0 and g <= resnet.GROUPS for g in groups)
    assert width < 8 or groups == [resnet.GROUPS] * 9


def test_unknown_norm_says_what_to_write():
    with pytest.raises(ValueError, match=r"'layer'; write norm='batch' or norm='gr"):
        abstract("layer")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("norm", NORMS)
def test_only_activations_take_the_dtype(norm, dtype):
    model = abstract(norm, width=4, dtype=dtype)
    graph, params, stats = problem.split_model(model)
    assert {x.dtype for x in jax.tree.leaves((params, stats))} == {np.dtype("float32")}
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def forward(params, stats, images):
        model = nnx.merge(graph, params, stats, copy=True)
        logits = model(images)
        block = model.blocks[0](model.norm(model.conv(images)))
        return logits, block, problem.split_model(model)[2]

    logits, block, stats = jax.eval_shape(forward, params, stats, images)
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)
    assert (block.shape, block.dtype) == ((2, 32, 32, 4), dtype)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(stats))


def test_bfloat16_is_float32_to_its_precision():
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 8, 8, 4)).astype(np.float32)
    values = random.normal(size=(2, 3, 3, 4, 4)).astype(np.float32)

    @partial(jax.jit, static_argnums=0)
    def output(dtype):
        block = models.BasicBlock(4, 4, norm="group", dtype=dtype, rngs=RNGS())
        block.conv1.kernel[...], block.conv2.kernel[...] = jnp.asarray(values)
        return block(images)

    high, low = (np.float32(output(dtype)) for dtype in (jnp.float32, jnp.bfloat16))
    assert np.abs(low - high).max() > 0
    # 3 roundings to 8 bits (0.4 %) of numbers of order 1, up to 4
    assert np.abs(low - high).max() < 0.05


def test_convolutions_start_he_normal_by_fan_out():
    kernel = resnet.Conv(64, 32, size=3, rngs=RNGS()).kernel[...]
    # the standard error of a standard deviation of n values is 1 / sqrt(2 n) of it
    error = 4 / np.sqrt(2 * kernel.size)
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / (9 * 32)), rtol=error)


def oracle_conv(x, kernel, stride):
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def oracle_norm(x, norm, groups):
    """Normalise over the batch or over groups of channels."""
    b, h, w, c = x.shape
    x = np.asarray(x, np.float64).reshape(b, h, w, groups, c // groups)
    axes = (0, 1, 2) if norm == "batch" else (1, 2, 4)
    if norm == "batch":
        x = x.reshape(b, h, w, c, 1)
    x = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return x.reshape(b, h, w, c)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("after", "stride"), [(8, 1), (16, 2)])
def test_block_is_the_published_one(norm, after, stride):
    block = models.BasicBlock(8, after, stride=stride, norm=norm, rngs=RNGS())
    images = jax.random.normal(jax.random.key(1), (3, 8, 8, 8))
    normalise = partial(oracle_norm, norm=norm, groups=4)
    hidden = normalise(oracle_conv(images, block.conv1.kernel[...], stride))
    hidden = jnp.asarray(np.maximum(hidden, 0), jnp.float32)
    hidden = normalise(oracle_conv(hidden, block.conv2.kernel[...], 1))
    shortcut = images
    if stride != 1:
        shortcut = normalise(oracle_conv(images, block.conv3.kernel[...], stride))
    # float32: two sums of 72 or 144 products of order 1 in another order
    np.testing.assert_allclose(
        block(images), np.maximum(hidden + shortcut, 0), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("norm", NORMS)
def test_only_group_norm_is_independent_of_the_batch(norm):
    graph, params, stats = problem.split_model(abstract(norm, width=4))
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: random.normal(size=x.shape, scale=0.2).astype(x.dtype), params
    )
    stats = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), stats)
    images = random.normal(size=(4, 8, 8, 3)).astype(np.float32)
    others = np.concatenate([images[:2], 3 * images[2:]])
    logits = jax.jit(lambda x: nnx.merge(graph, params, stats, copy=True)(x))
    same = np.array_equal(logits(images)[:2], logits(others)[:2])
    assert same == (norm == "group")


class OneBlock(nnx.Module):
    """The least network with what the ResNet is made of."""

    def __init__(self, *, norm, rngs):
        self.block = models.BasicBlock(4, 4, norm=norm, rngs=rngs)
        self.head = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, images):
        return self.head(self.block(images).mean(axis=(1, 2)))


@pytest.fixture(scope="module")
def split():
    """Return 64 images of noise: 8 steps an epoch, 24 a run."""
    key = jax.random.key(3)
    labels = jax.random.randint(key, 64, 0, 10)
    return Split(1 + 2 * jax.random.normal(key, (64, 8, 8, 4)), labels)


def task_with(norm):
    return classifying.classify(
        lambda rngs: OneBlock(norm=norm, rngs=rngs),
        lambda images: images,
        lambda images, key: images,
        64,
        8,
    )


def assert_close(ours, theirs, **tolerance):
    jax.tree.map(
        partial(np.testing.assert_allclose, **tolerance),
        jax.tree.leaves(ours),
        jax.tree.leaves(theirs),
    )


@pytest.mark.slow
def test_lane_equals_single_run_with_batch_norm(split):
    task, seed, rate = task_with("batch"), 1, 1
    program = grid.Program(8, Noise(), ("sgd",), range(2), (0, 1))
    methods = grid.methods(classify.DEMO, program, steps=STEPS * EPOCHS)
    params, stats, loss = python_loop(task, methods["sgd"], RATES[rate], split, seed)
    lanes = trainer(task, methods, split)()[-1]["sgd"]
    lane = jax.tree.map(lambda x: x[seed, rate], lanes)
    # float32: as in test_lane_equals_single_run, and dividing by the deviation of a
    # batch grows an error by about its inverse, of order 1 here
    np.testing.assert_allclose(lane.measures["loss"], loss, rtol=1e-5)
    assert_close(lane.params, params, rtol=0, atol=1e-5)
    assert_close(lane.stats, stats, rtol=1e-4, atol=1e-5)
    own = [np.unique(np.asarray(x)[..., 0]).size for x in jax.tree.leaves(lanes.stats)]
    assert own == [SEEDS.size * len(RATES)] * len(own)


def test_a_step_moves_the_running_averages_by_a_tenth(split):
    task = task_with("batch")
    params, stats = task.init(jax.random.key(0))
    loss = task.players["network"]
    _, (new, _) = loss(params, stats, split, jnp.arange(8), jax.random.key(0))
    kernel = params["network"]["block"]["conv1"]["kernel"][...]
    hidden = np.asarray(oracle_conv(split.images[:8], kernel, 1), np.float64)
    expected = {
        "mean": 0.1 * hidden.mean((0, 1, 2)),
        "var": 0.9 + 0.1 * hidden.var((0, 1, 2)),
    }
    for name, value in expected.items():
        # float32: sums of 36 products, then of 512 values, of order 1
        np.testing.assert_allclose(
            new["block"]["norm1"][name][...], value, rtol=1e-5, atol=1e-5
        )
    np.testing.assert_array_equal(stats["block"]["norm1"]["mean"][...], np.zeros(4))


def test_the_optimizer_never_sees_the_statistics(split):
    seen = []

    def make(trial):
        def update(updates, state, params):
            seen.extend([updates, params])
            return jax.tree.map(jnp.zeros_like, updates), state

        return optax.GradientTransformation(lambda p: seen.append(p) or (), update)

    task = task_with("batch")
    spy = {"spy": Method(make)}
    before = jax.jit(partial(loop.init_lanes, task, spy))(trials_of(spy), SEEDS)
    epoch = jax.jit(partial(loop.epoch, task, spy))
    after = epoch(before, split, trials_of(spy), SEEDS, 0)
    variables = jax.tree.leaves(seen, is_leaf=lambda x: isinstance(x, nnx.Variable))
    assert {type(variable) for variable in variables} == {nnx.Param}
    assert_close(after["spy"].params, before["spy"].params, rtol=0)
    first = jax.tree.map(lambda x: x[0, 0], before["spy"])
    stats, loss = first.stats, jax.jit(task.players["network"])
    for index in task.batches(order_key(0), 0):
        _, (stats, _) = loss(first.params, stats, split, index, None)
    # float32: as above; nothing but the 8 batches has moved them
    assert_close(jax.tree.map(lambda x: x[0, 0], after["spy"].stats), stats, rtol=1e-5)


def test_evaluation_uses_the_running_averages(split, monkeypatch):
    task = task_with("batch")
    params, stats = task.init(jax.random.key(0))
    other = jax.tree.map(lambda x: x + 0.5, stats)
    evaluate = jax.jit(task.evaluate)
    whole = evaluate(params, other, split)
    assert abs(whole["loss"] - evaluate(params, stats, split)["loss"]) > 1e-3
    monkeypatch.setattr(classifying, "EVALUATED_TOGETHER", 10)
    sliced = jax.jit(partial(task.evaluate))(params, other, split)
    for name, value in whole.items():
        # float32: means of 64 values of order 1, summed in another order
        np.testing.assert_allclose(sliced[name], value, rtol=1e-6)


def test_without_batch_norm_there_are_no_statistics(split):
    task = task_with("group")
    params, stats = task.init(jax.random.key(0))
    assert jax.tree.leaves(stats) == []
    loss = task.players["network"]
    _, (stats, _) = loss(params, stats, split, jnp.arange(8), jax.random.key(0))
    assert jax.tree.leaves(stats) == []


@pytest.mark.slow
@pytest.mark.parametrize(("side", "stride"), [(6, 1), (4, 2)])
def test_convolutions_in_place_are_those_of_patches(side, stride, monkeypatch):
    """The oracle of values and gradients of runs is the convolution by patches.

    Blocks are so small that there are several of pixels, of channels in and out and of
    parts of a kernel's gradient, the last ones not full. Lanes of a seed share images.
    """
    for name, size in {"PIXELS": 16, "CHANNELS": 4, "SPLIT": 32}.items():
        monkeypatch.setattr(implicit_gemm, name, size)
    keys, out = jax.random.split(jax.random.key(side), 3), side // stride
    pixels = jax.random.normal(keys[0], (1, 3, side, side, 8))
    kernels = jax.random.normal(keys[1], (1, 2, 3, 3, 8, 12))
    grads = jax.random.normal(keys[2], (1, 2, 3, out, out, 12))

    def found(convolve):
        def lanes(pixels, kernels):
            of_seed = jax.vmap(lambda x, w: convolve(x, w, stride), (None, 0))
            return jax.vmap(of_seed)(pixels, kernels)

        values, back = jax.vjp(jax.jit(lanes), pixels, kernels)
        return values, *back(grads)

    in_place = partial(models.convolve_in_place, interpret=True)
    for a, b in zip(found(in_place), found(models.convolve_by_patches), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


def test_patches_and_matmul_are_a_convolution():
    images = jax.random.normal(jax.random.key(0), (2, 8, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    for stride in (1, 2):
        ours = models.patches3x3(images, stride) @ kernel.reshape(27, 4)
        oracle = jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        # float32: 27 products of order 1, summed in another order.
        np.testing.assert_allclose(ours, oracle, rtol=1e-5, atol=1e-5)
