"""A file that no Python reads; a harness that skips it would have nothing to reject.

Target: relu_squared
Stage: verify
Expected: syntax
Notes: E23
"""

def relu_squared(x):
    return torch.relu(x)..square()
