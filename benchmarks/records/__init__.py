"""The files of a run and what they contain; below runs and reports."""
