"""Stage 1: where a training step spends its time, and what to attack first.

run.py starts the trainer under the profiler, trace.py reads what it wrote, attribution.py and
segments.py divide each step among the ops, costs.py counts their least work, and rank.py sets both
against the roofline (lab/roofline.py).
"""

from lab.profiling.run import load, profile

__all__ = ["load", "profile"]
