"""Verify: each way of being wrong has its own reason, and being right passes.

The workers here live in this process (see in_process.py): questions, answers and checks are the
real ones. Those that must not, and the whole of `verify`, are in test_worker.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from in_process import verify_in_process

from kernels.spec import Case, TargetFolder
from lab.errors import MachineError
from lab.harness import checking
from lab.harness.families import Family
from lab.harness.verify import AGAIN
from lab.outcomes import Failed, Passed

Judged = Callable[..., Passed | Failed]

HONEST = """
import torch
def toynorm(x, eps):
    return x * (x.float().square().mean(-1, keepdim=True) + eps).rsqrt().to(x.dtype)
"""

FUNCTION = """
import torch
class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps):
        ctx.save_for_backward(x)
        ctx.eps = eps
        return FORWARD
    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        scale = (x.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        y = x * scale
        return BACKWARD, None
def toynorm(x, eps):
    return Op.apply(x, eps)
"""
NORM = "x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()"
GRADIENT = "(g - y * (g * y).mean(-1, keepdim=True)) * scale"


def function(forward: str = NORM, backward: str = GRADIENT) -> str:
    return FUNCTION.replace("FORWARD", forward).replace("BACKWARD", backward)


BORROWED = """
import torch
class Op(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, eps):
        scale = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        y = x * scale
        ctx.kept = x.data, x.data.clone(), scale
        x.data.copy_(y)
        return y
    @staticmethod
    def backward(ctx, g):
        borrowed, before, scale = ctx.kept
        y = borrowed.clone()
        borrowed.copy_(before)
        return GRADIENT, None
def toynorm(x, eps):
    return Op.apply(x, eps) if torch.is_grad_enabled() else FORWARD
""".replace("GRADIENT", GRADIENT).replace("FORWARD", NORM)


def body(text: str) -> str:
    return f"import torch\ndef toynorm(x, eps):\n    y = {NORM}\n    {text}\n"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_incumbent_passes_its_own_verification(toy: TargetFolder, dtype: str) -> None:
    """If what training runs does not pass, nothing ever will."""
    outcome = verify_in_process(toy.incumbent("torch"), toy, toy.target.odd_cases, (dtype,))
    assert isinstance(outcome, Passed), outcome
    assert outcome.deterministic
    assert {(c.case, c.tensor) for c in outcome.checks} == {
        (case.name, tensor) for case in toy.target.odd_cases for tensor in ("y", "dx")
    }
    for check in outcome.checks:
        assert check.max_error <= check.allowed_max
        assert check.rms_error <= check.allowed_rms
        assert check.incumbent_rms > 0


@pytest.mark.parametrize("source", [HONEST, function()], ids=["composed", "function"])
def test_honest_candidates_pass(judged: Judged, source: str) -> None:
    """Another order of operations, or a backward by hand, is what candidates are for."""
    outcome = judged(source, "one", "strided", "large", "tiny_gradient")
    assert isinstance(outcome, Passed), outcome


WRONG = {
    "a tuple for one tensor": (body("return (y,)"), "arity", "one tensor"),
    "two values": (body("return y, y"), "arity", "2"),
    "nothing": (body("pass"), "not_a_tensor", "NoneType"),
    "a number": (body("return 1.0"), "not_a_tensor", "float"),
    "a parameter": (body("return torch.nn.Parameter(y.detach())"), "not_a_tensor", "Parameter"),
    "a subclass": (
        "import torch\nclass Lazy(torch.Tensor): pass\n"
        + body("return y.as_subclass(Lazy)").replace("import torch\n", ""),
        "not_a_tensor",
        "Lazy",
    ),
    "a sparse tensor": (body("return y.to_sparse()"), "not_a_tensor", "sparse"),
    "one row too many": (body("return torch.cat([y, y[:1]])"), "shape", "[5, 33]"),
    "a scalar": (body("return y.sum()"), "shape", "[]"),
    "another dtype": (body("return y.double()"), "dtype", "float64"),
    "another device": (body("return torch.empty_like(y, device='meta')"), "device", "meta"),
    "one NaN": (body("return y + torch.eye(4, 33).mul(-1).sqrt()"), "not_finite", "y"),
    "an unwritten row": (
        function("torch.cat([x[:-1], x[-1:] * float('inf')])"),
        "not_finite",
        "y",
    ),
    "zeros": (body("return y * 0"), "numeric", "y"),
    "a constant": (body("return y * 0 + 0.5"), "numeric", "y"),
    "the input": ("def toynorm(x, eps):\n    return x", "numeric", "y"),
    "a wrong last row": (body("return torch.cat([y[:-1], y[-1:] * 1.001])"), "numeric", "[3,"),
    "half the row": (
        "def toynorm(x, eps):\n"
        "    half = x[..., : x.shape[-1] // 2]\n"
        "    return x * (half.square().mean(-1, keepdim=True) + eps).rsqrt()",
        "numeric",
        "y",
    ),
    "bfloat16 inside": (
        "def toynorm(x, eps):\n"
        "    z = x.bfloat16()\n"
        "    return (z * (z.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype)",
        "numeric",
        "bfloat16",
    ),
    "a detached result": (body("return y.detach()"), "gradient_missing", "dx"),
    "under no_grad": (
        f"import torch\ndef toynorm(x, eps):\n    with torch.no_grad():\n        return {NORM}",
        "gradient_missing",
        "dx",
    ),
    "no gradient from backward": (function(backward="None"), "gradient_missing", "dx"),
    "half the gradient": (function(backward=f"({GRADIENT}) / 2"), "gradient", "dx"),
    "a gradient without the projection": (function(backward="g * scale"), "gradient", "dx"),
    "a zero gradient": (function(backward="g * 0"), "gradient", "dx"),
    "a gradient of NaN": (function(backward="g * float('nan')"), "not_finite", "dx"),
    "in place on the input": (body("x.data.copy_(y.detach()); return y"), "input_changed", "x"),
    "in place on the incoming gradient": (
        function(backward="g.copy_(" + GRADIENT + ")"),
        "input_changed",
        "incoming gradient of y",
    ),
    "an input transposed in place": (
        body("x.data = x.data.mT.contiguous().mT; return y"),
        "input_changed",
        "strides",
    ),
    "an input given other storage": (
        body("x.data = x.data.clone(); return y"),
        "input_changed",
        "storage",
    ),
    "an input made smaller": (body("x.data = x.data[:1]; return y"), "input_changed", "shape"),
    "an input borrowed until the backward": (
        BORROWED,
        "input_changed",
        "between the forward and the backward",
    ),
    "one workspace for what all calls save": (
        function()
        .replace("ctx.save_for_backward(x)", "Op.saved = x.clone()")
        .replace("x, = ctx.saved_tensors", "x = Op.saved"),
        "gradient",
        "dx",
    ),
    "a wrong path for what requires no gradient": (
        body("return y if x.requires_grad else y * 1.01"),
        "numeric",
        "y",
    ),
    "a view of the input": ("def toynorm(x, eps):\n    return x[:]", "numeric", "y"),
    "a raise": (body("raise ValueError('no such luck')"), "raised", "no such luck"),
    "a raise in backward": (function(backward="g.no_such_method()"), "raised", "no_such_method"),
    "another signature": ("def toynorm(x):\n    return x", "raised", "positional argument"),
    "no function": ("def toy_norm(x, eps):\n    return x", "missing_function", "toynorm"),
    "not a function": ("toynorm = 3", "missing_function", "toynorm"),
    "a syntax error": ("def toynorm(x, eps)\n    return x", "syntax", "line 1"),
    "null bytes": ("def toynorm(x, eps):\n    return '\0'", "syntax", "null"),
    "a failing import": ("import no_such_module_anywhere", "import", "no_such_module_anywhere"),
    "a megabyte of source": ("#" * 2**20 + "\n", "syntax", "larger"),
}


@pytest.mark.parametrize(("source", "reason", "words"), WRONG.values(), ids=list(WRONG))
def test_every_fault_has_its_own_reason(
    judged: Judged, source: str, reason: str, words: str
) -> None:
    """The reason is what the author of a candidate gets to work with."""
    outcome = judged(source, "one")
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason == reason, outcome.detail
    assert words in outcome.detail


CACHES = {
    "by address": "seen = {}\n" + function(f"seen.setdefault(x.data_ptr(), {NORM})"),
    "by tensor and version": "seen = {}\n"
    + function(f"seen.setdefault((id(x), x._version), {NORM})"),
    "by shape": "seen = {}\n" + function(f"seen.setdefault(x.shape, {NORM})"),
    "by part of the content": "seen = {}\n"
    + function(f"seen.setdefault(float(x[0, 0] > 9), {NORM})"),
    "one buffer for all calls": "seen = {}\n"
    + function(f"seen.setdefault(x.shape, torch.empty_like(x)).copy_({NORM})"),
    "the gradient": "seen = {}\n"
    + function(backward=f"seen.setdefault(x.data_ptr(), {GRADIENT}).clone()"),
}


@pytest.mark.parametrize("source", CACHES.values(), ids=list(CACHES))
def test_remembered_answers_are_stale(judged: Judged, source: str) -> None:
    """The commonest cheat: do the work once, return it ever after."""
    outcome = judged(source, "one")
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason == "stale_output", outcome.detail


def test_a_write_into_the_gap_behind_a_row_is_seen(judged: Judged) -> None:
    """A write past the end of a strided row would corrupt a neighbouring tensor in training."""
    source = body(
        "w = torch.as_strided(x.data, (4, x.shape[-1] + 1), (x.stride(0), 1)); "
        "w[:, -1] = 0.0; return y"
    )
    outcome = judged(source, "strided")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "input_changed"


def test_reading_past_the_end_gives_nan(judged: Judged) -> None:
    """Plausible garbage from a neighbour must not pass for an answer."""
    source = body(
        "w = torch.as_strided(x.detach(), (4, x.shape[-1] + 1), (x.stride(0), 1)); "
        "return y + 0 * w[:1, -1:]"
    )
    outcome = judged(source, "strided")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "not_finite"


def test_evaluation_is_verified_too(judged: Judged) -> None:
    """An op that is only honest while it trains would flatter val_bpb."""
    outcome = judged(body("return y if torch.is_grad_enabled() else y * 0.99"), "one")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "numeric"


def test_what_is_right_once_and_wrong_later_fails(judged: Judged) -> None:
    """A check that looks at the first call only is passed by counting calls."""
    source = "calls = []\n" + body("calls.append(1); return y if len(calls) < 8 else y * 1.01")
    outcome = judged(source, "one")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "numeric"


def test_chance_within_the_bounds_passes_but_is_told(judged: Judged) -> None:
    """Kernels with atomics are honest and not deterministic; a promotion should know."""
    outcome = judged(body("return y * (1 + 3e-6 * torch.rand(()))"), "one")
    assert isinstance(outcome, Passed), outcome
    assert not outcome.deterministic


def test_a_failure_says_where_and_how_far(judged: Judged) -> None:
    """One line has to be enough to go on."""
    outcome = judged(body("return y * 1.01"), "strided")
    assert isinstance(outcome, Failed)
    assert outcome.case == "strided"
    assert outcome.dtype == "float32"
    assert "\n" not in outcome.detail
    for words in ("case strided, float32", "y is", "times further", "allowed", "Usually"):
        assert words in outcome.detail
    assert outcome.checks[-1].tensor == "y"
    assert outcome.checks[-1].max_error > outcome.checks[-1].allowed_max


def test_a_traceback_shows_the_candidates_own_lines(judged: Judged) -> None:
    """Frames of the harness or of torch are no help to the author."""
    outcome = judged("def toynorm(x, eps):\n    return inner(x)\ndef inner(x):\n    return x[99]\n")
    assert isinstance(outcome, Failed)
    assert "line 4, in inner: return x[99]" in outcome.detail
    assert "worker.py" not in outcome.detail


def test_a_case_that_proves_nothing_is_the_labs_fault(toy: TargetFolder, tmp_path: Path) -> None:
    """Where zeros would pass, a candidate's passing is worth nothing."""
    folder = tmp_path / "toynorm"
    folder.mkdir()
    source = (toy.path / "target.py").read_text()
    (folder / "target.py").write_text(source.replace("scale=1e4", "scale=0, gradient_scale=0"))
    (folder / "reference.py").write_text(toy.reference.read_text())
    (folder / "incumbent_torch.py").write_text(toy.incumbent("torch").read_text())
    blind = TargetFolder("toynorm", folder)
    case = next(case for case in blind.target.odd_cases if case.name == "large")
    with pytest.raises(MachineError, match="proves nothing"):
        verify_in_process(blind.incumbent("torch"), blind, [case])


@pytest.mark.parametrize("unlucky", [1, AGAIN, AGAIN + 1])
def test_contents_that_prove_nothing_by_chance_are_drawn_again(
    toy: TargetFolder, monkeypatch: pytest.MonkeyPatch, unlucky: int
) -> None:
    """One draw in a few dozen of two short rows is nearly orthogonal, and its own polar factor."""
    run, draws = checking.CaseChecks.run, iter(range(unlucky))

    def unluckily(self: checking.CaseChecks, *how: object) -> None:
        run(self, *how)  # type: ignore[arg-type]
        if self.case.purpose == "odd" and next(draws, None) is not None:
            raise checking.ProvesNothing("copy would pass", "Change the case.")

    monkeypatch.setattr(checking.CaseChecks, "run", unluckily)
    case = toy.target.odd_cases[0]
    if unlucky > AGAIN:
        with pytest.raises(MachineError, match="would pass"):
            verify_in_process(toy.incumbent("torch"), toy, [case])
        return
    outcome = verify_in_process(toy.incumbent("torch"), toy, [case])
    assert isinstance(outcome, Passed)
    assert [check.case for check in outcome.checks] == [case.name] * 2


def test_a_broken_incumbent_is_the_labs_fault(judged: Judged, tmp_path: Path) -> None:
    """A candidate must not fail, nor pass, for what the incumbent does."""
    broken = tmp_path / "incumbent.py"
    broken.write_text(body("raise RuntimeError('old driver')"))
    with pytest.raises(MachineError, match="old driver"):
        judged(HONEST, "one", incumbent=broken)


SAME = {
    "wrapped": "import torch\ndef inner(x, eps):\n"
    "    return torch.nn.functional.rms_norm(x, x.shape[-1:], None, eps)\n"
    "def toynorm(x, eps):\n    y = inner(x.view(x.shape), eps)\n    return y.view_as(x)\n",
    "written out": "import torch\nclass Op(torch.autograd.Function):\n    @staticmethod\n"
    "    def forward(ctx, x, eps):\n        with torch.enable_grad():\n"
    "            ctx.x = x.detach().requires_grad_()\n"
    "            ctx.y = torch.nn.functional.rms_norm(ctx.x, (x.shape[-1],), eps=eps)\n"
    "        return ctx.y.detach()\n    @staticmethod\n    def backward(ctx, g):\n"
    "        return torch.autograd.grad(ctx.y, ctx.x, g)[0], None\n"
    "def toynorm(x, eps):\n    return Op.apply(x, eps)\n",
}


@pytest.mark.parametrize("source", SAME.values(), ids=list(SAME))
def test_the_incumbent_called_again_is_no_change(trained: Judged, source: str) -> None:
    """It is right, so it passes; and it must never be benched until noise makes it a win."""
    outcome = trained(source)
    assert isinstance(outcome, Passed), outcome
    assert outcome.no_change_of == "incumbent"


def test_the_reference_called_again_is_no_change(trained: Judged) -> None:
    """Under another text, too."""
    outcome = trained(
        "import torch\ndef toynorm(x, eps):\n    squares = torch.square(x)\n"
        "    root = torch.sqrt(torch.mean(squares, -1, True) + eps)\n"
        "    return torch.div(x, root)\n"
    )
    assert isinstance(outcome, Passed), outcome
    assert outcome.no_change_of == "reference"


CHANGED = {
    "other operators": HONEST,
    "a backward by hand": function(),
    "the same bits from other operators": "import torch\ndef toynorm(x, eps):\n"
    "    y = torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)\n    return y * 1.0\n",
    "memory that something unseen may have filled": "import torch\ndef toynorm(x, eps):\n"
    "    torch.empty(1)\n    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)\n",
    "fallback on other than training's shapes": "import torch\n"
    + function().replace("def toynorm", "def fast")
    + "def toynorm(x, eps):\n    if x.shape[0] >= 64:\n        return fast(x, eps)\n"
    "    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)\n",
}


@pytest.mark.parametrize("source", CHANGED.values(), ids=list(CHANGED))
def test_what_computes_otherwise_is_a_change(trained: Judged, source: str) -> None:
    """Being told `no change` by mistake would lose an honest candidate."""
    outcome = trained(source)
    assert isinstance(outcome, Passed), outcome
    assert outcome.no_change_of == ""


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_a_failing_hidden_shape_is_named(toy: TargetFolder, tmp_path: Path, layout: str) -> None:
    """Its author has to be able to mend it; the next run has other shapes."""
    path = tmp_path / "submitted.py"
    path.write_text(body("assert x.shape[-1] != 1030; return y"))
    dims = {"rows": 3, "width": 1030}
    case = Case("hidden_3x1030", dims, purpose="hidden", layout=layout)  # type: ignore[arg-type]
    outcome = verify_in_process(path, toy, [toy.target.odd_cases[0], case])
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.case) == ("raised", "hidden_3x1030")
    assert f"(rows 3, width 1030; {layout}), float32" in outcome.detail


def test_a_hidden_shape_that_proves_nothing_is_drawn_again(toy: TargetFolder) -> None:
    """Chance must not stop a verification; a published case like that is the lab's fault."""
    blind = Case("hidden_1x2", {"rows": 1, "width": 2}, "hidden", scale=0.0, gradient_scale=0.0)
    outcome = verify_in_process(toy.incumbent("torch"), toy, [blind])
    assert isinstance(outcome, Passed), outcome
    (name,) = {check.case for check in outcome.checks}
    assert name.startswith("hidden_")
    assert name != blind.name


def test_a_failure_names_the_family_of_values(judged: Judged) -> None:
    """Right but for spikes, or for large values: that is half of the diagnosis."""
    outcome = judged(body("return y * 1.01"), "one")
    assert isinstance(outcome, Failed)
    assert any(f"float32, {one} inputs: y is" in outcome.detail for one in get_args(Family))


def test_a_buffer_that_all_calls_return_is_found_where_the_oracle_sees_one_call(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest shapes are those where a buffer saves most."""
    monkeypatch.setattr(checking, "HEAVY_BYTES", 0)
    buffer = "seen = {}\n" + function(
        f"seen.setdefault(x.shape, torch.empty_like(x)).copy_({NORM})"
    )
    outcome = judged(buffer, "one")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "stale_output", outcome.detail
    assert isinstance(judged(function(), "one"), Passed)


@pytest.mark.parametrize("when", ["imported", "called"])
def test_a_switch_of_the_whole_process_is_named(judged: Judged, when: str) -> None:
    """Its author may have meant only this op; the message has to say what else it changes."""
    turn = "torch.set_float32_matmul_precision('medium')"
    text = f"{turn}\n" if when == "imported" else ""
    text = f"import torch\n{text}" + HONEST.replace(
        "    return", f"    {turn}\n    return" if when == "called" else "    return"
    )
    try:
        outcome = judged(text)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "switches"
    assert "torch.get_float32_matmul_precision: was highest, is medium" in outcome.detail
