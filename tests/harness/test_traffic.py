"""The counter of memory traffic: HLO written by hand, and small real programs."""

import jax
import jax.numpy as jnp
import optax
import pytest
from test_contract import FACTORIES
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.costs import trees
from benchmarks.costs.gpu import convolutions
from benchmarks.costs.traffic import (
    budgets,
    count,
    hlo,
    plan,
    step,
    table,
    targets,
    updates,
)

A = 4 * 1000  # bytes of f32[1000]
CPU = targets.Target("cpu", "cpu")


def module(entry, *computations):
    """Return a module of computations (name, lines), each of them with parameter p."""
    parts = ["HloModule test, is_scheduled=true, input_output_alias={ {}: (0, {}) }"]
    for name, lines in (*computations, ("ENTRY %main", entry)):
        parts += ["", f"{name} (p: f32[1000]) -> f32[1000] {{"]
        parts += [f"  {line}" for line in lines.strip().splitlines()]
        parts += ["}"]
    return hlo.parse("\n".join(parts))


def array(text):
    return hlo.array(*hlo.ARRAY.fullmatch(text).groups(default=""))


@pytest.mark.parametrize(
    ("text", "size", "elsewhere"),
    [
        ("f32[]", 4, False),
        ("pred[7]{0}", 7, False),
        ("bf16[3,5]{1,0}", 30, False),
        ("u32[]{:S(2)}", 4, True),
        ("f32[1000]{0:T(1024)}", 4 * 1024, False),
        ("f32[3,200]{1,0:T(8,128)}", 4 * 8 * 256, False),
        ("f32[3,200]{0,1:T(8,128)}", 4 * 128 * 200, False),  # the first axis is minor
        ("f32[2,9,128]{2,1,0:T(8,128)S(1)}", 4 * 2 * 16 * 128, True),
    ],
)
def test_bytes_of_an_array(text, size, elsewhere):
    assert array(text).bytes == size
    assert array(text).elsewhere == elsewhere


def test_operands_and_results_of_entry_instructions():
    """Two reads and a write; one read of an operand used twice; plumbing is free."""
    program = module(
        """
        %p = f32[1000]{0} parameter(0), metadata={op_name="w[\\'a\\']"}
        %q = f32[1000]{0} parameter(1)
        %add.1 = f32[1000]{0} add(%p, /*index=1*/%q)
        %square = f32[1000]{0} multiply(%add.1, %add.1), metadata={op_name="f(%p)"}
        %b = f32[10,100]{1,0} bitcast(%square)
        %t = (f32[10,100]{1,0}, /*index=1*/f32[1000]{0}) tuple(%b, %q)
        ROOT %g = f32[1000]{0} get-tuple-element(%t), index=1
        """
    )
    assert program.step(0) == hlo.Count(bytes=3 * A + 2 * A, copies=0)
    assert not program.has_branches()


FUSED = (
    "%fused",
    """
    %p = f32[1000]{0} parameter(0)
    %q = f32[1000]{0} parameter(1)
    %m = f32[1000]{0} multiply(%p, %q)
    %a = f32[1000]{0} add(%m, %q)
    ROOT %t = (f32[1000]{0}, f32[1000]{0}) tuple(%m, %a)
    """,
)


def test_fusion_moves_its_operands_and_results_alone():
    program = module(
        """
        %p = f32[1000]{0} parameter(0)
        %q = f32[1000]{0} parameter(1)
        %f = (f32[1000]{0}, f32[1000]{0}) fusion(%p, %q), kind=kLoop, calls=%fused
        ROOT %g = f32[1000]{0} get-tuple-element(%f), index=0
        """,
        FUSED,
    )
    assert program.step(0) == hlo.Count(4 * A, 0)


def test_call_moves_what_is_called():
    program = module(
        """
        %p = f32[1000]{0} parameter(0)
        ROOT %c = f32[1000]{0} call(%p), to_apply=%inner
        """,
        ("%inner", "%p = f32[1000]{0} parameter(0)\n%n = f32[1000]{0} negate(%p)"),
    )
    assert program.step(0) == hlo.Count(2 * A, 0)


KEEP = ("%keep", "ROOT %p = f32[1000]{0} parameter(0)")
TAKE = (
    "%take.1",
    "%p = f32[1000]{0} parameter(0)\nROOT %c = f32[1000]{0} copy(%p)",
)


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ("s32[]", "branch_computations={%keep, %take.1}"),
        ("pred[]", "true_computation=%take.1, false_computation=%keep"),
    ],
)
def test_branches_apart(selector, named):
    """The conditional itself moves nothing; the negation is there on both steps."""
    program = module(
        f"""
        %i = {selector} parameter(0)
        %p = f32[1000]{{0}} parameter(1)
        %q = f32[1000]{{0}} parameter(2)
        %c = f32[1000]{{0}} conditional(%i, %p, %q), {named}
        ROOT %n = f32[1000]{{0}} negate(%c)
        """,
        KEEP,
        TAKE,
    )
    assert program.has_branches()
    assert program.step(0) == hlo.Count(2 * A, copies=0)
    assert program.step(1) == hlo.Count(4 * A, copies=1)


def test_launches_of_a_gpu():
    """Two kernels and a call to a library; a copy more where the anchor is taken.

    A conditional, tuples and bitcasts are none.
    """
    program = module(
        """
        %i = s32[] parameter(0)
        %p = f32[1000]{0} parameter(1)
        %c = f32[1000]{0} conditional(%i, %p, %p), branch_computations={%keep, %take.1}
        %f = (f32[1000]{0}, f32[1000]{0}) fusion(%c, %p), kind=kLoop, calls=%fused
        %g = f32[1000]{0} get-tuple-element(%f), index=1
        %b = f32[10,100]{1,0} bitcast(%g)
        %m = f32[10,10]{1,0} custom-call(%b, %b), custom_call_target="__cublas$gemm"
        ROOT %r = f32[] fusion(%m), kind=kInput, calls=%fused
        """,
        FUSED,
        KEEP,
        TAKE,
    )
    assert program.launches(0) == 3
    assert program.launches(1) == 4


def test_copies_of_arrays():
    """A plain copy and a fusion that only copies; scalars do not count."""
    program = module(
        """
        %p = f32[1000]{0} parameter(0)
        %s = s32[] parameter(1)
        %scalar = s32[] copy(%s)
        %c = f32[1000]{0} copy(%p)
        ROOT %f = f32[1000]{0} fusion(%c), kind=kLoop, calls=%take.1
        """,
        TAKE,
    )
    assert program.step(0) == hlo.Count(2 * 4 + 4 * A, copies=2)


def fast(result):
    """Through a TPU's vector memory: fetched, ``result`` of it, stored."""
    there, main = "f32[1000]{0:T(1024)S(1)}", "f32[1000]{0:T(1024)}"
    return module(
        f"""
        %p = {main} parameter(0)
        %s = ({there}, {main}, u32[]{{:S(2)}}) copy-start(%p)
        %d = {there} copy-done(%s)
        %r = {there} {result}
        %e = ({main}, {there}, u32[]{{:S(2)}}) copy-start(%r)
        ROOT %f = {main} copy-done(%e)
        """
    )


def test_another_memory_costs_the_way_there_and_back():
    both_ways = 2 * 4 * 1024  # padded
    assert fast("negate(%d)").step(0) == hlo.Count(both_ways, copies=0)
    assert fast("bitcast(%d)").step(0) == hlo.Count(both_ways, copies=1)


def test_slice_reads_what_it_takes():
    program = module(
        """
        %p = f32[1000,128]{1,0:T(8,128)} parameter(0)
        %s = ((f32[1000,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(1)}, \
s32[]{:S(2)}) slice-start(%p), slice={[0:8], [0:128]}
        ROOT %d = f32[8,128]{1,0:T(8,128)S(1)} slice-done(%s)
        """
    )
    assert program.step(0) == hlo.Count(4 * 8 * 128, 0)


@pytest.mark.parametrize("opcode", ["while", "async-start"])
def test_what_cannot_be_counted_is_an_error(opcode):
    line = f"%p = f32[1000]{{0}} parameter(0)\n%w = f32[1000]{{0}} {opcode}(%p)"
    with pytest.raises(NotImplementedError, match=opcode):
        module(line).step(0)
    with pytest.raises(NotImplementedError, match=opcode):
        module(line).launches(0)
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("HloModule test")


@pytest.fixture
def small(monkeypatch):
    """Two leaves large enough that the scalars beside them vanish in two digits."""
    tree = trees.leaves({"kernel": (512, 256), "bias": (256,)})
    for name in trees.TREES:
        monkeypatch.setitem(trees.TREES, name, lambda: tree)
    return plan.SMALL


def test_sgd_and_its_anchor_cost_the_budget_on_cpu(small):
    """Equal to it, not only within: the counter sees every array."""
    limits = budgets.BUDGETS["cpu", "sgd"]
    bare = count.measure(CPU, small, "sgd")
    ours = count.measure(CPU, small, "proximal, sgd")
    assert bare.ordinary == pytest.approx(limits.bare, abs=0.002)  # the counters
    assert bare.anchoring is None
    assert ours.ordinary == pytest.approx(limits.ordinary, abs=0.002)
    assert ours.anchoring == pytest.approx(limits.anchoring, abs=0.002)
    assert count.is_within(bare)
    assert count.is_within(ours)


def test_an_outer_optimizer_costs_its_budget_on_cpu(small):
    """Each update is written to memory, for the outer step reads it."""
    limits = budgets.OUTER_BUDGETS["cpu", "sgd"]
    ours = count.measure(CPU, small, "sgd, outer")
    assert ours.ordinary == pytest.approx(limits.ordinary, abs=0.002)  # the counters
    assert ours.anchoring == pytest.approx(limits.anchoring, abs=0.002)
    assert ours.temporaries == pytest.approx(limits.temporaries, abs=0.002)
    assert count.is_within(ours)


def selected_anchor():
    """Return the pull written with a ``where``, which rewrites the anchor each step."""

    def init(params):
        return params, jnp.zeros([], jnp.int32)

    def update(g, state, w):
        a, t = state
        a = jax.tree.map(lambda a, w: jnp.where(t % 10 == 0, w, a), a, w)
        g = jax.tree.map(lambda g, w, a: g + 0.2 * (w - a), g, w, a)
        return g, (a, t + 1)

    return optax.GradientTransformation(init, update)


def test_an_anchor_rewritten_at_each_step_is_over_budget(small, monkeypatch):
    naive = updates.Update(
        "sgd", "ours", lambda: optax.chain(selected_anchor(), updates.sgd())
    )
    monkeypatch.setitem(updates.COUNTED, "naive", naive)
    row = count.measure(CPU, small, "naive")
    assert row.ordinary > budgets.BUDGETS["cpu", "sgd"].ordinary + 0.9
    assert not count.is_within(row)


def test_verdict():
    good = count.Traffic(
        "tpu", "v5e", "GPT-2 small", "trsgd", 6.03, 8.044, 0.004, 0.0, 0
    )
    assert count.is_within(good)
    for worse in (
        {"ordinary": 6.04},
        {"anchoring": 8.05},
        {"anchoring": None},
        {"temporaries": 0.006},
        {"unaliased": 0.006},
        {"copies": 1},
    ):
        assert count.is_within(good._replace(**worse)) is False, worse
    on_gpu = good._replace(platform="cuda", ordinary=6, anchoring=8, kernels=66)
    assert count.is_within(on_gpu)
    assert count.is_within(on_gpu._replace(kernels=67)) is False
    assert count.is_within(on_gpu._replace(optimizer="sgd", ordinary=5, kernels=148))
    bare = good._replace(optimizer="sgd", ordinary=5.02, anchoring=None)
    assert count.is_within(bare)
    assert count.is_within(bare._replace(ordinary=5.03)) is False
    assert count.is_within(good._replace(optimizer="lookahead, sgd")) is None


def test_table_has_the_most_kernels_of_a_gpu_alone():
    small = count.Traffic("cuda", "H100", "ResNet-50", "trsgd", 6, 8, 0, 0, 0, 24, 84)
    large = small._replace(tree="GPT-2 small", kernels=16, anchoring_kernels=164)
    bare = large._replace(optimizer="sgd", ordinary=5, kernels=148)
    cpu = small._replace(platform="cpu", kernels=None, anchoring_kernels=None)
    rows = [small, large, bare._replace(anchoring=None, anchoring_kernels=None), cpu]
    kernels = [
        line.split("|")[8].strip() for line in table.markdown(rows).splitlines()[:5]
    ]
    assert kernels[0] == "kernels"
    assert kernels[2:] == ["24, 164", "148", "-"]
    _, *lines = table.to_csv(rows).splitlines()
    assert [line.split(",")[-3:-1] for line in lines] == [
        ["24", "84"],
        ["16", "164"],
        ["148", ""],
        ["", ""],
    ]


def test_sharded_updates_talk_only_where_they_must(small, monkeypatch):
    """A gradient's norm over all devices needs a sum; the pull needs nothing."""
    clipped = updates.Update(
        "sgd",
        "ours",
        lambda: optax.chain(optax.clip_by_global_norm(1.0), updates.sgd()),
    )
    monkeypatch.setitem(updates.COUNTED, "clipped", clipped)
    eight = targets.Target("cpu", "cpu", 8)
    assert count.collectives(eight, small, "clipped") == ({"all-reduce"},) * 2
    assert count.collectives(eight, small, "trsgd") == (set(), set())
    assert count.collectives(eight, small, "sgd, outer") == (set(), set())
    compact = count.collectives(eight, small, "proximal int16, sgd")
    assert compact == (set(), {"all-reduce"})  # the units, once a period


def test_trees_are_the_published_networks():
    resnet, gpt2 = (tree() for tree in trees.TREES.values())
    assert (len(resnet), len(gpt2)) == (60, 148)
    assert trees.size(gpt2) == 4 * 124_439_808
    # 25,557,032 with 53 norms of gain and bias, 26,560 channels in all; 5 gains here
    assert trees.size(resnet) == 4 * (25_557_032 - 2 * 26_560 + 3904)


def test_every_public_update_is_measured():
    measured = [name for name, m in updates.COUNTED.items() if m.kind == "ours"]
    assert all(any(public in name for name in measured) for public in FACTORIES)


def test_unavailable_targets_are_skipped_with_the_reason(monkeypatch):
    def missing(**kwargs):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(targets.topologies, "get_topology_desc", missing)
    found, skipped = plan.available(targets.TARGETS)
    assert [target.platform for target in found] == ["cpu"]
    assert skipped[0] == (
        "Skipped H100: jax-cuda13-pjrt is missing or does not load: "
        "topology not implemented for cuda"
    )


def test_a_tiny_plan_has_one_chip_of_each_platform():
    chips = [target.chip for target in plan.one_of_each(plan.TARGETS)]
    assert chips == ["cpu", "H100", "v5e"]


def test_command(small, monkeypatch, tmp_path):
    """Two updates on CPU: the table, the files, and an exit code for the verdict."""
    for name in set(updates.COUNTED) - {"sgd", "proximal, sgd"}:
        monkeypatch.delitem(updates.COUNTED, name)
    monkeypatch.setattr(plan, "TARGETS", (CPU,))
    monkeypatch.setattr(plan, "SHARDED", ())
    monkeypatch.setattr(plan, "use_cpu_alone", lambda: None)  # jax runs already
    monkeypatch.setattr(plan, "compile_times", lambda target: "")

    result = CliRunner().invoke(app, ["traffic", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    assert text in result.output
    row = "| cpu    | proximal, sgd |       | 8.00     | 10.00        | 0.00        | 0"
    assert row in text
    assert len((tmp_path / "traffic.csv").read_text().splitlines()) == 1 + 2 * 2
    assert (tmp_path / "meta.json").exists()

    monkeypatch.setitem(budgets.BUDGETS, ("cpu", "sgd"), budgets.Budget(6, 7.99, 10))
    result = CliRunner().invoke(app, ["traffic", "--tiny", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "traffic --tiny`" in (tmp_path / "table.md").read_text()
    assert len((tmp_path / "traffic.csv").read_text().splitlines()) == 1 + 2
    assert "8.00, 10.00" not in result.output


def test_of_a_slice_inside_a_fusion_what_it_reads():
    """A fusion of p[0:100] and of all of q; the loop's body is what is counted."""
    program = module(
        """
        %p = f32[1000]{0} parameter(0)
        %w = (f32[1000]{0}) while(%p), condition=%less, body=%body
        ROOT %g = f32[1000]{0} get-tuple-element(%w), index=0
        """,
        (
            "%body",
            """
            %p = f32[1000]{0} parameter(0)
            %q = f32[1000]{0} negate(%p)
            ROOT %f = f32[100]{0} fusion(%p, %q), kind=kLoop, calls=%fused
            """,
        ),
        (
            "%fused",
            """
            %param_0.1 = f32[1000]{0} parameter(0)
            %c = f32[1000]{0} convert(%param_0.1)
            %s = f32[100]{0} slice(%c), slice={[0:100]}
            %param_1.2 = f32[1000]{0} parameter(1)
            %r = f32[] reduce(%param_1.2), dimensions={0}
            %b = f32[100]{0} broadcast(%r), dimensions={}
            ROOT %m = f32[100]{0} multiply(%s, %b)
            """,
        ),
    )
    (body,) = step.instructions(program)
    moved = {name: step.bytes_of(x, body, program) for name, x in body.items()}
    assert moved["q"] == 2 * A
    assert moved["f"] == A / 10 + A + A / 10


def test_the_ways_that_are_counted_are_all_of_the_plan():
    assert {*convolutions.WAYS} <= {*step.WAYS}
