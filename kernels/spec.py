"""The frozen types that a `target.py` is made of, and the discovery of target folders.

A target is one replaceable op of the trainer. Its folder holds `target.py` (which defines
`TARGET`), `reference.py` (the float64 oracle), `incumbent_torch.py` (what the trainer runs today),
`candidates/` (starting points), `cheats/` (wrong on purpose) and `promoted/` (admitted by the
gate). Every implementation is one file defining one function named like the folder, called with
the target's inputs in order and then its scalars in order.

Imports no framework and nothing else of ours, so that `kernel-lab targets` stays instant. Never
runs candidate code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Literal

import numpy as np

KERNELS = Path(__file__).resolve().parent

Dims = Mapping[str, int]
Draw = Callable[[np.random.Generator, Dims, tuple[int, ...]], np.ndarray]
"""Draws one input: generator, the case's dims, the input's shape -> float64 or int64 array."""


def normal(generator: np.random.Generator, dims: Dims, shape: tuple[int, ...]) -> np.ndarray:
    """Independent standard normal values, float64."""
    return generator.standard_normal(shape)


@dataclass(frozen=True)
class Input:
    """One tensor argument. `shape` names dims of the case: `("rows", "width")` is [rows, width]."""

    name: str
    shape: tuple[str, ...]
    draw: Draw = normal
    differentiable: bool = True
    kind: Literal["float", "index"] = "float"
    """`float` inputs take the case's dtype and scale; `index` inputs are int64 and never scaled."""
    scaled: bool = True
    """Whether `Case.scale` multiplies this input (a table of cosines is not)."""
    dtype: Literal["same", "float32"] = "same"
    """Of a `float` input and its gradient: the case's own, or always float32 as a weight that is
    never cast."""
    without: tuple[str, ...] = ()
    """Families of values (lab/harness/families.py) on which the op would be ill-conditioned."""


@dataclass(frozen=True)
class Output:
    """One tensor result. `dtype` is the case's own (`same`) or always `float32`."""

    name: str
    shape: tuple[str, ...]
    dtype: Literal["same", "float32"] = "same"


@dataclass(frozen=True)
class Case:
    """One shape, magnitude and layout at which a candidate is judged.

    `train` cases have the shapes that training really runs; they are verified and timed. `odd`
    cases are verified only. `hidden` ones are drawn by the judge from `Target.ranges`, anew for
    every verification.
    """

    name: str
    dims: Dims
    purpose: Literal["train", "odd", "hidden"] = "odd"
    scale: float = 1.0
    """Multiplies the float inputs: large magnitudes overflow careless kernels."""
    gradient_scale: float = 1.0
    """Multiplies the incoming gradients: late in training they are tiny."""
    layout: Literal["contiguous", "strided"] = "contiguous"
    """`strided` inputs are views with gaps, as slices of a larger tensor are."""
    calls: int = 1
    """Of a `train` case: how many of the op's calls are like this, against those of the others."""

    def shape(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """The extent of each named dim."""
        return tuple(self.dims[name] for name in names)


@dataclass(frozen=True)
class Range:
    """The legal extents of one dim: from `least` to `most`, each a multiple of `multiple`."""

    least: int
    most: int
    multiple: int = 1

    def __contains__(self, extent: int) -> bool:
        return self.least <= extent <= self.most and extent % self.multiple == 0

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.least)
        step = f", a multiple of {self.multiple}" if self.multiple > 1 else ""
        return f"{self.least} to {self.most}{step}"


@dataclass(frozen=True)
class TrainingShape:
    """What a preset makes of the ops: sizes of one micro-batch and of the optimizer's stacks."""

    batch: int
    sequence: int
    width: int
    heads: int
    head_dim: int
    vocab: int
    layers: int
    matrices: tuple[tuple[int, int, int], ...]
    """Muon's stacks, one per distinct shape: (count, rows, columns)."""
    gate_channels: int = 32
    """Of a layer's input, what the gate of its value embedding reads."""
    windows: tuple[int, ...] = ()
    """How many positions back each layer's attention sees. Empty: all of them, in every layer."""

    @property
    def tokens(self) -> int:
        """Tokens of one micro-batch."""
        return self.batch * self.sequence


@dataclass(frozen=True)
class Cost:
    """Least memory traffic (bytes) and arithmetic (FLOPs) of one call."""

    bytes_forward: int
    flops_forward: int
    bytes_backward: int = 0
    flops_backward: int = 0

    @property
    def bytes_moved(self) -> int:
        """Bytes of forward and backward together."""
        return self.bytes_forward + self.bytes_backward

    @property
    def flops(self) -> int:
        """FLOPs of forward and backward together."""
        return self.flops_forward + self.flops_backward


@dataclass(frozen=True)
class Target:
    """The contract of one op: what goes in, what comes out, where it is judged and what it costs.

    `train_cases` turns a preset's shapes into cases; `odd_cases` are fixed. `cost` takes a case's
    dims and the bytes of one element. `scalars` are numbers passed after the inputs, in order:
    constants, or None for one that belongs to the case, which is its dim of that name.

    `ranges` are the legal extents of every dim that varies by itself: a candidate has to be right
    at all of them, and the judge draws hidden shapes from them. `derived` are the other dims, as
    the dim and the divisor that they follow from: `{"half": ("head_dim", 2)}`.

    A target with `parts` is a larger op: the trainer does its work in these parts until an
    implementation of the whole is promoted or forced (`trainer.ops` says how they take precedence).
    Its incumbent file does what the parts do, one after the other, without calling them.
    """

    summary: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    train_cases: Callable[[TrainingShape], tuple[Case, ...]]
    odd_cases: tuple[Case, ...]
    cost: Callable[[Dims, int], Cost]
    scalars: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    independent: str = ""
    """A dim along which the op works on each part by itself: results for some parts depend on those
    parts of the inputs alone. Inputs without it are shared by all parts; their gradients are sums.
    Recordings of large calls keep only some of the parts. Empty: none."""
    ranges: Mapping[str, Range] = field(default_factory=lambda: MappingProxyType({}))
    derived: Mapping[str, tuple[str, int]] = field(default_factory=lambda: MappingProxyType({}))
    parts: tuple[str, ...] = ()
    """The trainer's profiler scopes, without `op:`, in which it does this work by itself. The scope
    that is entered least often in a step has nothing else in it."""
    contains: Mapping[str, Literal["all", "some"]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Those of the parts that are targets themselves, and whether all of the trainer's calls of
    them are inside this op, so that they are never called once it runs, or only some."""

    @property
    def differentiable(self) -> tuple[str, ...]:
        """Names of the inputs whose gradient a candidate must return."""
        return tuple(i.name for i in self.inputs if i.differentiable)

    @property
    def signature(self) -> str:
        """The call as Python text, without the function's name: `(x, eps)`."""
        return f"({', '.join([*(i.name for i in self.inputs), *self.scalars])})"

    def scalars_of(self, dims: Dims) -> tuple[float, ...]:
        """What is passed after the inputs in a case of these dims."""
        return tuple(dims[n] if value is None else value for n, value in self.scalars.items())

    def cases(self, shape: TrainingShape) -> tuple[Case, ...]:
        """Training cases of `shape` first, then the odd ones."""
        return (*self.train_cases(shape), *self.odd_cases)

    def complete(self, dims: Dims) -> Dims:
        """`dims` of `ranges` with those that follow from them."""
        others = {name: dims[of] // by for name, (of, by) in self.derived.items()}
        return {**dims, **others}


@dataclass(frozen=True)
class TargetFolder:
    """A target as found on disk. `id` is the folder's name and the name of every implementation."""

    id: str
    path: Path

    @cached_property
    def target(self) -> Target:
        """The `TARGET` of `target.py`."""
        target = load_module(self.path / "target.py").TARGET
        if not isinstance(target, Target):
            raise TypeError(f"{self.path / 'target.py'}: TARGET must be a kernels.spec.Target")
        return target

    @property
    def reference(self) -> Path:
        """The oracle's file."""
        return self.path / "reference.py"

    def incumbent(self, framework: Literal["torch", "mlx"]) -> Path:
        """The file of what `framework`'s trainer runs until something better is promoted."""
        return self.path / f"incumbent_{framework}.py"

    def starting_candidate(self, language: str) -> Path | None:
        """The starting point in `language`, or None where the folder has none."""
        path = self.path / "candidates" / f"{language}.py"
        return path if path.is_file() else None

    @property
    def cheats(self) -> tuple[Path, ...]:
        """Candidates that are wrong on purpose; verify or bench must reject each."""
        return tuple(sorted((self.path / "cheats").glob("*.py")))

    @property
    def mlx_cheats(self) -> tuple[Path, ...]:
        """Those in MLX."""
        return tuple(sorted((self.path / "cheats" / "mlx").glob("*.py")))

    @cached_property
    def sha256(self) -> str:
        """Hash of what decides correctness and cost: `spec.py`, `target.py` and `reference.py`."""
        digest = hashlib.sha256()
        for path in (Path(__file__), self.path / "target.py", self.reference):
            digest.update(path.read_bytes())
            digest.update(b"\0")
        return digest.hexdigest()


def discover(root: Path = KERNELS) -> dict[str, TargetFolder]:
    """Every folder under `root` that holds a `target.py`, by id, in alphabetical order."""
    found = sorted(path.parent for path in root.glob("*/target.py"))
    return {path.name: TargetFolder(path.name, path) for path in found}


def load_module(path: Path) -> ModuleType:
    """Imports one file under a name unique to its path and content, never by `sys.path`.

    Raises whatever the file raises. Never call this on a candidate in the judge's process.
    """
    digest = hashlib.sha256(str(path.resolve()).encode() + path.read_bytes()).hexdigest()[:16]
    name = f"kernel_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
