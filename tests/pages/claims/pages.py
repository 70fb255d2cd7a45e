"""The pages, what is claimed on them, and which of their numbers need no source."""

import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
PAGES = (
    *("README.md", "benchmarks/README.md"),
    *sorted(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("docs/**/*.md")
        if path.name != "reliability.md"  # test_the_table_of_faults_counts_the_tests
    ),
    *sorted(x.relative_to(ROOT).as_posix() for x in ROOT.glob("docs/tutorials/*.py")),
)
WORDS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
)

NUMBER = re.compile(
    r"(?<![\w.])(?<![A-Za-z]-)[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?"
)
SOME = r"\d[\d.,]*(?:(?:, and |, | and | to )\d[\d.,]*)*(?<=\d)"  # 1, 2 and 4; 1 to 4
KINDS = {
    "a version": r"(?:Python|optax) [\d.]+|Apache-2\.0",
    "a paper": r"(?:IJCAI|NeurIPS|ICLR) \d{4}|(?:arXiv |doi |\[)\d+\.\d+(?:/[\w.]+)?",
    "a setting before its number": (
        r"(?:[Bb]atch|S =|S of|[Ss]trengths?(?: of)?|anchor steps? of|momentum|width) "
        rf"{SOME}(?! points)|\bn=\d+|\d+x\d+"
    ),
    "a setting behind its number": (
        rf"{SOME} (?:seeds|epochs?|steps|optimizers|forms|strengths|train images|bytes|"
        r"replicas|windows|CPU cores|M parameters|x safe|x the rule)"
    ),
    "the mean of the inner decay over a period of 10, and with the pull": (
        r"(?:SGD|Adam|at) (?:at )?0\.(?:293|212)(?: x)?|0\.293 (?:times|of)"
    ),
    "the confidence of an interval, the power of a test": r"95 %|80 %",
}
"""Patterns of numbers that need no source, by what they are."""


class Claim(NamedTuple):
    """Words of a page with a replacement field for each number, and the numbers.

    Numbers that are written out in the words are settings, such as a batch size.
    """

    words: str
    values: Callable[[], tuple[object, ...]]

    def filled(self) -> str:
        values = self.values()
        fields = [x for _, x, _, _ in string.Formatter().parse(self.words) if x == ""]
        assert len(fields) == len(values), (self.words, values)
        return squeezed(self.words.format(*values))


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def read(page: str) -> str:
    """Read a page without its code blocks and formulas, in one line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".py"):  # a notebook as text: its cells of prose
        cells = re.findall(r"^# %% \[markdown\]\n((?:#.*\n)+)", text, flags=re.M)
        text = re.sub(r"^# ?", "", "\n".join(cells), flags=re.M)
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    text = re.sub(r"^\d+\. ", "", text, flags=re.M)  # of a list
    return squeezed(text)


def prose(text: str) -> str:
    """Blank what is quoted or typeset: inline code, formulas, targets of links."""
    quoted = r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|\{%.*?%\}"
    return re.sub(quoted, lambda found: " " * len(found[0]), text)


def unsourced(text: str, accounted: list[str]) -> list[str]:
    """Numbers of a page, with some words around, that nothing accounts for.

    Args:
      text: of the page, as `read` gives it.
      accounted: words of the page whose numbers have a source.
    """
    covered: set[int] = set()
    for words in (*map(re.escape, map(squeezed, accounted)), *KINDS.values()):
        for found in re.finditer(words, text):
            covered.update(range(*found.span()))
    return [
        text[max(found.start() - 40, 0) : found.end() + 25]
        for found in NUMBER.finditer(prose(text))
        if not covered.issuperset(range(*found.span()))
    ]
