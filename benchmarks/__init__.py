"""Figures, each beside a bare loop in the same run. README.md says how to run them."""
