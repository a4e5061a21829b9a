"""One folder per target: what an op must compute, what computes it today, what might be faster.

Add a target by adding a folder; `kernels.spec.discover` finds it and nothing else changes.
"""
