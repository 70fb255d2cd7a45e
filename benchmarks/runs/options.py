"""The arguments and options of the commands, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="Name the experiment; `list` shows them.")]
Redrawn = Annotated[
    str | None,
    typer.Argument(
        help="Redraw this experiment; without a name redraw all that have results."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Write to this folder instead of results/NAME."),
]
Folder = Annotated[
    Path | None,
    typer.Option(help="Use the results in this folder instead of results/NAME."),
]
Measured = Annotated[
    Path | None,
    typer.Option(help="Write to this folder instead of one in results/."),
]
Parts = Annotated[
    Path,
    typer.Option(help="Write to this folder, or go on with what is there already."),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Read the data set from this folder or archive.")
]
DataSets = Annotated[
    Path | None, typer.Option(help="Read CIFAR-10 and a .txt file from this folder.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue a run or measurements that were cut off."),
]
Tiny = Annotated[
    bool, typer.Option("--tiny", help="Run the same code with less of everything.")
]
OfTiny = Annotated[
    bool, typer.Option("--tiny", help="Use the results of `run NAME --tiny`.")
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Train for this many epochs; the learning rate falls at the same "
        "fractions of them.",
    ),
]
Coordinator = Annotated[
    str | None,
    typer.Option(
        help="Train together with other processes; the first is at this HOST:PORT."
    ),
]
Process = Annotated[
    str | None,
    typer.Option(
        help="Say which of several processes this one is: of two, 0/2 or 1/2."
    ),
]
Seed = Annotated[int, typer.Option(help="Draw with this random seed.")]
Prompt = Annotated[
    str,
    typer.Option(help="Let the text begin with this.", show_default="a new line"),
]
Length = Annotated[int, typer.Option(min=1, help="Write this many bytes of text.")]
Temperature = Annotated[
    float,
    typer.Option(
        min=0.0, help="Divide the logits by this; with 0 write the likeliest byte."
    ),
]
Minutes = Annotated[
    float,
    typer.Option(
        min=0.0, help="Stop after this many minutes; the same command goes on."
    ),
]
StopAfter = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Stop after this many minutes; with --resume it goes on."
    ),
]
Again = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Also begin what needs another call of this many minutes on this machine.",
    ),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show an error with its traceback.")
]
