"""From the library's docstrings, in optax's conventions, to the site's Markdown."""

import re
import textwrap

_MATH_BLOCK = re.compile(r"^\.\. math::(.*\n(?:[ \t]+.*\n|\n)*)", re.M)
_ROLE = re.compile(r":(\w+):`([^`]+)`")


def to_markdown(docstring: str) -> str:
    """``docstring`` with its formulas, references and sections as MkDocs reads them."""
    text = _MATH_BLOCK.sub(_display, docstring + "\n")
    text = _ROLE.sub(_inline, text)
    if left := re.search(r"^ *\.\. \w+::|:\w+:`", text, re.M):
        raise ValueError(
            f"{left.group().strip()} in a docstring: the site knows '.. math::', with "
            "its text from the margin on, and the roles math, func and class."
        )
    text = re.sub(r"^( +)>(?!>> )", r"\1\>", text, flags=re.M)  # no quotation
    text = text.replace("\nExample:\n", "\nExamples:\n")
    text = re.sub(r"^Reference:\n((?: .*\n)+)", _reference, text, flags=re.M)
    return text.rstrip("\n")


def _display(match: re.Match[str]) -> str:
    first, _, rest = match[1].partition("\n")
    formula = f"{first.strip()}\n{textwrap.dedent(rest)}".strip("\n")
    return f"$$\n{formula}\n$$\n\n"


def _inline(match: re.Match[str]) -> str:
    role, text = match[1], " ".join(match[2].split())
    if role == "math":
        return f"${text}$"
    if role in ("func", "class"):
        return f"[`{text}`][prox_optax.{text}]"
    return match[0]


def _reference(match: re.Match[str]) -> str:
    text = re.sub(r"https://\S+", r"<\g<0>>", textwrap.dedent(match[1]).strip())
    return f"**Reference:** {text}\n"
