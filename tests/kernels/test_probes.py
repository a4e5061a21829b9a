"""Every case tells a kernel from a placeholder.

A probe is a function that does no work: zeros, a constant, a copy of an input. If one came near the
right answer somewhere, that case would prove nothing about a candidate.
"""

from __future__ import annotations

import kernel_calls as calls
import pytest
import torch

from kernels.spec import Case, TargetFolder

FAR = 0.05
"""Least relative error of a probe, in outputs or in gradients: far above any bound on a kernel."""
CONTENTS = 3
"""The judge draws more. One may come near by luck: a single row divided by its size is a copy of
itself times some factor, and the factor may be near that of the probe."""


def placeholder(
    folder: TargetFolder, content: calls.Content, right: dict[str, torch.Tensor], probe: str
) -> dict[str, torch.Tensor]:
    """What the probe answers: outputs, and the gradients that it would have by autograd."""
    if probe in ("zeros", "one"):
        value = {"zeros": 0.0, "one": 1.0}[probe]
        answer = {n: torch.full_like(t, value) for n, t in right.items()}
    elif probe == "mean":
        answer = {n: torch.full_like(t, float(t.mean())) for n, t in right.items()}
    else:
        source, factor = content.inputs[0].double(), float(probe)
        answer = {n: factor * repeated(source, t) for n, t in right.items()}
    for one, incoming in zip(folder.target.differentiable, content.incoming, strict=False):
        copied = incoming.double() if incoming.shape == right[f"d{one}"].shape else 0.0
        slope = float(probe) if probe[0].isdigit() else 0.0
        answer[f"d{one}"] = slope * copied + torch.zeros_like(right[f"d{one}"])
    return answer


def repeated(source: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The values of `source`, as often as it takes to fill the shape of `like`."""
    flat = source.reshape(-1)
    return flat.repeat(-(-like.numel() // flat.numel()))[: like.numel()].reshape(like.shape)


@calls.every_case
@pytest.mark.parametrize("probe", ["zeros", "one", "mean", "1.0", "0.5", "2.0", "0.1"])
def test_no_case_is_fooled(name: str, case: Case, probe: str) -> None:
    """Outputs or gradients are far from the oracle on some of the contents, as the judge draws."""
    folder, errors = calls.FOLDERS[name], []
    for seed in range(CONTENTS):
        content = calls.draw(folder, case, torch.float64, seed)
        right = calls.oracle(folder, content)
        answer = placeholder(folder, content, right, probe)
        errors += [calls.relative_error(answer[n], right[n]) for n in right]
    assert max(errors) > FAR
