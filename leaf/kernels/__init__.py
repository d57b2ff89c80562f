"""Kernels: aggregates over dictionary codes and plain numbers, with the engine's own results."""
