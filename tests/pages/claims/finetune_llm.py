"""docs/recipes/finetune_llm.md."""

from claims import finetune

CLAIMS = (finetune.OF_RECIPE,)
COPIED = ("examples/results/finetune_memory.md",)
EXEMPT = {
    "Draw it at temperature 1": "a setting",
    "SmolLM2-135M": "a name",
    "a real model tries 1e4 to 1e6": "examples/finetune_smollm2.py, STRENGTHS",
}
