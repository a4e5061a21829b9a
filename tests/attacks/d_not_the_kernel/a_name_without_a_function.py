"""The name is there, but it is a text.

Target: relu_squared
Stage: verify
Expected: missing_function
Notes: D12
"""

relu_squared = "return torch.relu(x).square()"
