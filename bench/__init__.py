"""Benches: one file per question, run with ``python -m bench``."""
