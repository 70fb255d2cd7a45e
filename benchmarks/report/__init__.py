"""Judging what was run: statistics, tables, figures."""
