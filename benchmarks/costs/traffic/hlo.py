"""Bytes that a compiled program moves through memory, counted in its HLO text.

Every instruction of the entry computation reads its operands from memory and writes its
results to it, in place or not; what a fusion computes inside stays in registers. Arrays
in another memory (layouts with S(n): a TPU's vector or scalar memory) cost nothing, the
copies that fill and empty it cost their side in the main one. A tile's padding is moved
too. A branch is counted where it is taken.

JAX's own `cost_analysis` does not do: of a conditional it counts one branch alone, the
costlier one where it was tried, and an ordinary step takes the other.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

NAME = r"%?([\w.\-]+)"
HEADER = re.compile(rf"(ENTRY )?{NAME} \(.*->.*\{{$")
INSTRUCTION = re.compile(rf"\s+(?:ROOT )?{NAME} = (.*)")
ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
CALLED = re.compile(rf"(?:calls|to_apply)={NAME}")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
BINARY = re.compile(rf"true_computation={NAME}, false_computation={NAME}")
COLLECTIVE = re.compile(r"(all-|reduce-scatter|collective-|ragged-all-|send|recv)")

FREE = {
    "after-all",
    "bitcast",
    "constant",
    "copy-done",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "slice-done",
    "tuple",
}
MOVES = {
    "bitcast",
    "copy",
    "copy-done",
    "copy-start",
    "custom-call",
    "get-tuple-element",
    "reshape",
    "slice-done",
    "slice-start",
    "transpose",
    "tuple",
}
"""Opcodes that hand their operands on; of custom calls, only a TPU's ConcatBitcast."""


class Array(NamedTuple):
    """An array's place in memory.

    Attributes:
      dims: the shape.
      bytes: the size with the padding of the tiles.
      elsewhere: whether the array is in another memory than the main one.
    """

    dims: tuple[int, ...]
    bytes: int
    elsewhere: bool


class Instruction(NamedTuple):
    """A line of HLO: ``name = results opcode(operands), attributes``."""

    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    attributes: str


Computation = dict[str, Instruction]


@dataclass(frozen=True)
class Count:
    """What a step costs.

    Attributes:
      bytes: read and written.
      copies: arrays, not scalars, that are written again without being computed.
    """

    bytes: int
    copies: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.bytes + other.bytes, self.copies + other.copies)


class Module(NamedTuple):
    """A compiled program.

    Attributes:
      computations: by name.
      entry: the name of the computation that is run.
    """

    computations: dict[str, Computation]
    entry: str

    def step(self, branch: int) -> Count:
        """Count what moves on a step on which every conditional takes this branch."""
        counts = (
            Count(moved(x, computation), self._copies(x, computation))
            for x, computation in self._run(self.entry, branch)
        )
        return sum(counts, Count(0, 0))

    def launches(self, branch: int) -> int:
        """Count what a GPU launches on such a step: kernels, calls and copies.

        Each instruction that moves something is launched by itself.
        """
        return sum(moved(*each) > 0 for each in self._run(self.entry, branch))

    def has_branches(self) -> bool:
        """Tell whether a step can take one of several branches."""
        entry = self.computations[self.entry].values()
        return any(x.opcode == "conditional" for x in entry)

    def collectives(self, branch: int) -> set[str]:
        """Return the opcodes by which devices talk on a step that takes this branch."""
        found, names = set(), [self.entry]
        for name in names:
            for x in self.computations[name].values():
                found |= {x.opcode} if COLLECTIVE.match(x.opcode) else set()
                names += CALLED.findall(x.attributes)
                names += [branches(x)[branch]] if x.opcode == "conditional" else []
        return found

    def _run(self, name: str, branch: int) -> Iterator[tuple[Instruction, Computation]]:
        """Yield what is run and not free, each instruction with its computation."""
        computation = self.computations[name]
        for x in computation.values():
            if x.opcode == "conditional":
                yield from self._run(branches(x)[branch], branch)
            elif x.opcode == "call":
                yield from self._run(called(x), branch)
            elif x.opcode not in FREE:
                yield x, computation

    def _copies(self, x: Instruction, computation: Computation) -> int:
        """Count the arrays that it writes to the main memory without computing them."""
        if x.opcode == "fusion":
            inside = {y.opcode for y in self.computations[called(x)].values()}
            copies = inside <= MOVES | {"parameter"}
        else:
            copies = x.opcode in ("copy", "copy-start")
        if not copies:
            return 0
        source = computation[x.operands[0]].results[0]
        if source.elsewhere and is_computed(x, computation):
            return 0  # the result of a fusion on its way to the main memory
        return sum(y.dims != () and not y.elsewhere for y in written(x))


def parse(text: str | None) -> Module:
    """Read the text that ``jax.stages.Compiled.as_text`` returns."""
    computations: dict[str, Computation] = {}
    entry = current = ""
    for line in (text or "").splitlines():
        if header := HEADER.match(line):
            current = header[2]
            computations[current] = {}
            entry = current if header[1] else entry
        elif current and (match := INSTRUCTION.match(line)):
            computations[current][match[1]] = instruction(match[2])
    if not entry:
        raise ValueError("The text holds no ENTRY computation.")
    return Module(computations, entry)


def instruction(text: str) -> Instruction:
    """Split ``results opcode(operands), attributes``."""
    end = closing(text) if text.startswith("(") else text.index(" ")
    results, rest = text[:end], text[end:].strip()
    opcode = rest[: rest.index("(")]
    rest = rest[len(opcode) :]
    end = closing(rest)
    return Instruction(
        opcode,
        tuple(array(*match) for match in ARRAY.findall(results)),
        tuple(re.findall(r"%([\w.\-]+)", rest[:end])),
        rest[end:],
    )


def closing(text: str) -> int:
    """Return the position behind the parenthesis that closes the text's first one."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return i + 1
    raise ValueError(f"No closing parenthesis in {text[:80]!r}.")


def array(dtype: str, shape: str, layout: str) -> Array:
    """Read the type of an array.

    ``f32``, ``3,200``, ``1,0:T(8,128)S(1)`` has 8 x 256 x 4 bytes, elsewhere.
    """
    dims = tuple(map(int, shape.split(","))) if shape else ()
    order, _, rest = layout.partition(":")
    minor_to_major = map(int, order.split(",")) if order else reversed(range(len(dims)))
    padded = [dims[i] for i in minor_to_major]
    if tile := re.search(r"T\(([\d,]+)\)", rest):
        for i, n in enumerate(reversed(tile[1].split(","))):
            if i < len(padded):
                padded[i] = -(-padded[i] // int(n)) * int(n)
    bits = re.search(r"\d+", dtype)
    width = 1 if dtype == "pred" else int(bits[0]) // 8 if bits else 0
    return Array(dims, math.prod(padded) * width, "S(" in rest)


def moved(x: Instruction, computation: Computation) -> int:
    """Return how many bytes of the main memory an instruction reads and writes."""
    if x.opcode == "while" or (
        x.opcode.endswith("-start") and x.opcode not in ("copy-start", "slice-start")
    ):
        raise NotImplementedError(f"The traffic of a {x.opcode} cannot be counted.")
    results = written(x)
    sources = [computation[name].results for name in dict.fromkeys(x.operands)]
    if x.opcode in ("slice", "slice-start", "dynamic-slice"):  # reads what it writes
        read = sum(y.bytes for y in results if not sources[0][0].elsewhere)
    else:
        read = sum(y.bytes for source in sources for y in source if not y.elsewhere)
    return read + sum(y.bytes for y in results if not y.elsewhere)


def written(x: Instruction) -> tuple[Array, ...]:
    """Return the results of an instruction that are written anew.

    The start of a copy or slice also hands its operands and a flag on.
    """
    return {"copy-start": x.results[:1], "slice-start": x.results[1:2]}.get(
        x.opcode, x.results
    )


def is_computed(x: Instruction, computation: Computation) -> bool:
    """Tell whether a value was computed in this step, and not only handed on."""
    while x.opcode in MOVES:
        x = computation[x.operands[0]]
    return x.opcode not in ("parameter", "conditional")


def branches(x: Instruction) -> list[str]:
    """Return the computations of a conditional, that of false before that of true."""
    if match := BINARY.search(x.attributes):
        return [match[2], match[1]]
    match = BRANCHES.search(x.attributes)
    assert match is not None, x
    return [name.strip().lstrip("%") for name in match[1].split(",")]


def called(x: Instruction) -> str:
    """Return the computation that an instruction calls."""
    match = CALLED.search(x.attributes)
    assert match is not None, x
    return match[1]
