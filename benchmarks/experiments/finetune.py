"""The experiments with a pretrained language model, with all their numbers."""

from dataclasses import replace
from math import inf

from benchmarks.experiments.continual import against
from benchmarks.experiments.experiment import Experiment, spread
from benchmarks.optimizers.method import Settings
from benchmarks.tasks.finetune import Finetune

BASE = "fine-tuned"
EWC = f"{BASE}, ewc, decoupled"
PEERS = (
    *(BASE, f"{BASE}, average from the old", f"{BASE}, wise-ft"),
    *("lora of rank 8", "lora of rank 32"),
)
PULLS = (f"{BASE}, l2-sp, coupled", f"{BASE}, l2-sp, decoupled", f"{BASE}, sfa")
OUTPUTS = (
    *(f"{BASE}, kl on new inputs", f"{BASE}, kl on new inputs, ewc"),
    *(f"{BASE}, kl on own samples", f"{BASE}, replay of own samples"),
)

SMOLLM2 = Finetune(
    shape="135M", context=512, windows=480, scored=24, own=64, dtype="bfloat16"
)
FINETUNE = Experiment(
    name="finetune-smollm2",
    question="SmolLM2-135M-Instruct learns a new text in 300 steps of 16 x 512 tokens, "
    "without what it was trained on: what keeps the old one? New is the Jargon File "
    "(sha256 40dfb4b98191a670), old Shakespeare (86c4e6aa9db7c042); the weights are "
    "Q4_1. Primary contrasts: EWC decoupled, its Fisher information from the model's "
    "own samples, minus plain fine-tuning (learning rate x steps), minus an average of "
    "the weights, minus WiSE-FT and minus LoRA of two ranks, mean bits per byte of old "
    "and new text on the test split, trial and epoch chosen on the validation split of "
    "another seed. The rest is exploratory. The rate is constant, so that averages "
    "take out its noise too. Seeds differ in the order of the data and in the labels "
    "of the Fisher information; weights, texts and LoRA's first matrices are the same. "
    "Methods with a number of their own try 2 rates, the others 8.",
    cost="not run",
    gpu_cost="4 to 9 hours on an H100, in programs of up to 6 minutes (estimated)",
    problem=SMOLLM2,
    groups=(
        ("Averages and LoRA", (*PEERS, EWC)),
        ("Pulls", (BASE, f"{BASE}, decay to 0", *PULLS, EWC)),
        ("With the old model's outputs", (BASE, EWC, *OUTPUTS)),
    ),
    contrasts=against(EWC, (*PEERS, f"{BASE}, decay to 0", *PULLS, *OUTPUTS)),
    primary=against(EWC, PEERS),
    learning_rates=spread(0.00003, 30, 8),
    rate_scales=tuple((f"lora of rank {rank}", 10.0) for rank in (8, 32)),
    seeds=6,
    tuning_seeds=1,
    epochs=11,
    evaluate_every=1,
    evaluate_from=1,
    batch_sizes=(16,),
    settings=Settings(momentum=0.0, weight_decay=0.0, period=37, b1=0.9, b2=0.99),
    save_every=inf,
    large=True,
    idle_epochs=SMOLLM2.epochs_each,
)

FEW = (*PEERS[:3], "lora of rank 8")
SHORT = replace(
    FINETUNE,
    name="finetune-smollm2-short",
    question="The same in 30 steps of 4 x 128 tokens, on CPU cores: four trials a "
    "method instead of eight, LoRA of rank 8 alone. Primary contrasts: EWC decoupled "
    "minus plain fine-tuning, minus an average of the weights, minus WiSE-FT and minus "
    "LoRA, as there. Methods with a number of their own try 2 rates, the others 4. "
    "Four runs of the tuning seed, on the validation split, set the rates and the two "
    "strengths of EWC; no pilot set the other methods' own numbers.",
    cost="up to 85 minutes on 2 CPU cores",
    gpu_cost="not measured",
    problem=replace(SMOLLM2, context=128, windows=40, scored=8, own=16),
    groups=(("Averages, LoRA and a pull", (*FEW, EWC)),),
    contrasts=against(EWC, FEW),
    primary=against(EWC, FEW),
    learning_rates=(0.00005, 0.0001, 0.0002, 0.0004),
    rate_scales=(("lora of rank 8", 10.0),),
    values=(
        (f"{BASE}, average from the old", "average_step", (0.03, 0.1)),
        (f"{BASE}, wise-ft", "share", (0.5, 0.75)),
        (EWC, "strength", (3e6, 3e7)),
    ),
    seeds=5,
    epochs=4,
    batch_sizes=(4,),
)

EXPERIMENTS = (FINETUNE, SHORT)
