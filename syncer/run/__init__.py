"""Runs: the main path from a mapping to its run report."""
