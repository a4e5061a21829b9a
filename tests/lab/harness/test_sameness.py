"""No change: a known file in other clothes is told, and a real difference never is."""

from __future__ import annotations

import pytest

from kernels.spec import discover
from lab.harness.sameness import known_text, normal_form

INCUMBENT = '''
"""What runs today."""
import torch
import torch.nn.functional as F

SCALE = 1.5

def toynorm(x, eps):
    """Docs."""
    y = F.rms_norm(x, (x.shape[-1],), eps=eps)
    return helper(y) * SCALE

def helper(z):
    return torch.relu(z)
'''
REFERENCE = (
    "def toynorm(x, eps):\n    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()\n"
)
CLOTHES = {
    "a copy": INCUMBENT,
    "other names, types and comments": """
from typing import Any
import torch

def activation(values: torch.Tensor) -> torch.Tensor:
    return torch.relu(values)  # fast

def toynorm(tokens: Any, epsilon: float = 0.0 and 0) -> torch.Tensor:
    found: Any = torch.nn.functional.rms_norm(tokens, (tokens.shape[-1],), eps=epsilon)
    return activation(found) * FACTOR

FACTOR = 1.5
""".replace(" = 0.0 and 0", ""),
    "what is imported by name, and what nothing reaches": """
from torch.nn.functional import rms_norm as fast_norm
import torch as t
TILE = 128
SCALE = 1.5
def fused(x):
    return x * TILE
def helper(z):
    return t.relu(z)
def toynorm(x, eps):
    y = fast_norm(x, (x.shape[-1],), eps=eps)
    return helper(y) * SCALE
""",
}
OTHERS = {
    "another constant": INCUMBENT.replace("1.5", "1.25"),
    "another operator": INCUMBENT.replace("torch.relu", "torch.sigmoid"),
    "arguments the other way round": INCUMBENT.replace("toynorm(x, eps)", "toynorm(eps, x)"),
    "another variable returned": INCUMBENT.replace("helper(y)", "helper(x)"),
    "a decorator": INCUMBENT.replace("def toynorm", "@torch.compile\ndef toynorm"),
    "a statement with an effect": INCUMBENT + "\ntorch.set_num_threads(1)\n",
    "an assignment with an effect": INCUMBENT + "\n_ = torch.set_num_threads(1)\n",
    "no Python": "def toynorm(",
    "no such function": "def other(x, eps):\n    return x\n",
}


def known(source: str) -> str:
    return known_text(source.encode(), [INCUMBENT.encode()], REFERENCE.encode(), "toynorm")


@pytest.mark.parametrize("source", CLOTHES.values(), ids=list(CLOTHES))
def test_the_incumbent_in_other_clothes_is_the_incumbent(source: str) -> None:
    """A verbatim resubmission must not be benched until noise calls it a win."""
    assert known(source) == "incumbent"


def test_the_reference_is_told_too() -> None:
    """It is what a model hands in that has nothing better."""
    assert known(REFERENCE.replace("x", "tokens")) == "reference"


@pytest.mark.parametrize("source", OTHERS.values(), ids=list(OTHERS))
def test_a_real_difference_is_a_change(source: str) -> None:
    """A candidate that was told `no change` is lost, so it must be true."""
    assert known(source) == ""


def test_no_file_of_the_tree_is_taken_for_another() -> None:
    """Candidates and cheats all differ from incumbents and references, and from one another."""
    for folder in discover().values():
        files = [*folder.cheats, folder.reference, folder.incumbent("torch")]
        files.append(folder.path / "candidates" / "torch.py")
        forms = [normal_form(path.read_bytes(), folder.id) for path in files]
        assert all(forms)
        assert len(set(forms)) == len(forms), folder.id
