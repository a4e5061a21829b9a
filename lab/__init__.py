"""Everything that judges: profile → open → verify → bench → A/B → gate → promote.

Stages never import one another; they meet in the records of the ledger. Candidate code is only ever
run in child processes (`lab.harness.torch_worker`, `train.py`), never imported here.
"""
