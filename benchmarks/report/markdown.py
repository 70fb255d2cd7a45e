"""Tables in Markdown."""

Cells = tuple[str, ...]
"""A row of a table."""


def align(rows: list[Cells]) -> list[str]:
    """Lay out a Markdown table with even columns; the first row is its header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in (rows[0], rule, *rows[1:])
    ]
