"""What an update may cost, in arrays of the size of the parameters.

SGD with momentum reads g, m, w and writes m, w: 5; Adam 7. Reading the anchor adds 1,
taking it anew 2. A TPU pads the last two axes to tiles of 8 x 128: 0.5 % more on
ResNet-50, whose first kernels have 64 channels. A CPU's compiler makes two or three
kernels of an update, which pass arrays on through memory.

An int16 anchor adds a half, and three more where it is refreshed: parameters and codes
are read for the largest displacement, parameters once more for the codes that are
written. On that step a CPU's compiler writes the displacements down first; a TPU's
keeps some.

An outer optimizer reads the update of an outer step, so that each update is written to
memory and read again: 2 arrays more than bare, and a temporary. The outer step of
Nesterov momentum also reads w, u, a and its momentum and writes u, a and the momentum:
7 more, and twice as many where a CPU's compiler makes several kernels of it.

A GPU launches a kernel for each array of bare SGD (148 for GPT-2 small) and Adam (150).
Of ours the arrays of up to 65,536 elements, 98 there, share kernels by their shape; an
int16 anchor's units are an array that all leaves read, so that all share kernels.
"""

from typing import NamedTuple


class Budget(NamedTuple):
    """How many arrays of the size of the parameters may be moved and kept.

    Attributes:
      bare: moved by the bare optimizer.
      ordinary: moved by ours on a step that keeps the anchor.
      anchoring: moved by ours on a step that takes the anchor anew.
      temporaries: in use for intermediate results.
      kernels: launched on a GPU by ours on a step that keeps the anchor.
    """

    bare: float
    ordinary: float
    anchoring: float
    temporaries: float = 0
    kernels: int = 0


BUDGETS = {
    ("cpu", "sgd"): Budget(6, 8, 10),
    ("cpu", "adam"): Budget(10, 14, 16),
    ("cuda", "sgd"): Budget(5, 6, 8, kernels=66),
    ("cuda", "adam"): Budget(7, 8, 10, kernels=72),
    ("tpu", "sgd"): Budget(5.02, 6.03, 8.04),
    ("tpu", "adam"): Budget(7.03, 8.04, 10.05),
}
INT16_BUDGETS = {
    ("cpu", "sgd"): Budget(6, 7.5, 12.51, temporaries=0.5),
    ("cpu", "adam"): Budget(10, 13, 18.01, temporaries=0.5),
    ("cuda", "sgd"): Budget(5, 5.5, 8.51, kernels=25),
    ("cuda", "adam"): Budget(7, 7.5, 10.51, kernels=27),
    ("tpu", "sgd"): Budget(5.02, 5.53, 9.26, temporaries=0.3),
    ("tpu", "adam"): Budget(7.03, 7.54, 11.26, temporaries=0.3),
}
OUTER_BUDGETS = {
    ("cpu", "sgd"): Budget(6, 8, 22, temporaries=2),
    ("cpu", "adam"): Budget(10, 12, 26, temporaries=2),
    ("cuda", "sgd"): Budget(5, 7, 14, temporaries=1, kernels=298),
    ("cuda", "adam"): Budget(7, 9, 16, temporaries=1, kernels=300),
    ("tpu", "sgd"): Budget(5.02, 7.11, 14.05, temporaries=1.2),
    ("tpu", "adam"): Budget(7.03, 9.18, 16.07, temporaries=1.2),
}
DIGITS = 2  # that are compared: scalars and the pointers of tuples are no arrays
UNALIASED = 0  # outputs that take no donated array's place
COPIES = 0  # arrays that are copied on a step that keeps the anchor
COMPILE_RATIO = 1.2  # time to compile with the anchor, over without
