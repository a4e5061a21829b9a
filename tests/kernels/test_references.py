"""The oracles are right: finite everywhere, differentiated correctly, and true to the mathematics.

Nothing else checks an oracle, so each one is held against a property that it was not written from.
"""

from __future__ import annotations

import math
import time

import kernel_calls as calls
import pytest
import torch
import torch.nn.functional as F

from kernels.spec import Case, load_module
from lab.harness import oracle

EPS = 2.0**-23


def reference(name: str):  # type: ignore[no-untyped-def]
    return calls.function(calls.FOLDERS[name].reference, name)


@calls.every_case
@calls.every_dtype
def test_finite_in_float64_and_quick(name: str, case: Case, dtype: torch.dtype) -> None:
    """An oracle that overflows judges nothing, and a slow one makes verify slow."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, dtype)
    start = time.process_time()
    answer = calls.oracle(folder, content)
    assert time.process_time() - start < 2.0
    assert set(answer) == {o.name for o in folder.target.outputs} | {
        f"d{n}" for n in folder.target.differentiable
    }
    for output in folder.target.outputs:
        assert answer[output.name].shape == case.shape(output.shape)
    for tensor in answer.values():
        assert tensor.dtype == torch.float64
        assert bool(tensor.isfinite().all())


@pytest.mark.parametrize("name", calls.FOLDERS)
def test_parts_along_the_independent_dim_do_not_know_of_each_other(name: str) -> None:
    """Recordings of training are cut along it: outputs and gradients must be those of the whole.

    Gradients of what all parts share must add up to that of the whole.
    """
    folder = calls.FOLDERS[name]
    target = folder.target
    case = next(c for c in target.cases(calls.SHAPE) if c.dims[target.independent] > 1)
    content = calls.draw(folder, case, torch.float64)
    shapes = [i.shape for i in target.inputs] + [o.shape for o in target.outputs]
    first = case.dims[target.independent] // 2
    parts = []
    for start, size in ((0, first), (first, case.dims[target.independent] - first)):
        given = [
            tensor.narrow(shape.index(target.independent), start, size)
            if target.independent in shape
            else tensor
            for tensor, shape in zip((*content.inputs, *content.incoming), shapes, strict=True)
        ]
        count = len(target.inputs)
        half = calls.Content(tuple(given[:count]), tuple(given[count:]), content.scalars)
        parts.append(calls.oracle(folder, half).values())
    leaves = [i.shape for i in target.inputs if i.differentiable]
    shapes = [o.shape for o in target.outputs] + leaves
    for whole, shape, one, other in zip(
        calls.oracle(folder, content).values(), shapes, *parts, strict=True
    ):
        axis = target.independent
        both = torch.cat([one, other], shape.index(axis)) if axis in shape else one + other
        torch.testing.assert_close(both, whole)


PEERS = [
    (name, case)
    for name, folder in calls.FOLDERS.items()
    if hasattr(load_module(folder.reference), "PEERS")
    for case in folder.target.odd_cases
]


@pytest.mark.parametrize(("name", "case"), PEERS, ids=str)
def test_a_peer_is_right_but_for_the_rounding_of_float32(name: str, case: Case) -> None:
    """Its error widens what a candidate may lose, so a peer that is wrong would open the door."""
    folder = calls.FOLDERS[name]
    content = calls.draw(folder, case, torch.float32)
    right = oracle.evaluate(folder, content).tensors
    for peer in oracle.peers(folder, content):
        for found, expected in zip(peer.tensors, right, strict=True):
            assert found.dtype == torch.float32
            assert (found - expected).norm() <= 2.0**-12 * expected.norm()


def test_rmsnorm_makes_rows_of_size_one() -> None:
    """Whatever the rows' sizes were, as long as eps is small against them."""
    x = torch.randn(3, 5, 64, dtype=torch.float64) * torch.logspace(-1, 3, 5)[:, None]
    y = reference("rmsnorm")(x, EPS)
    assert torch.allclose(y.square().mean(-1), torch.ones(3, 5, dtype=torch.float64), atol=1e-4)
    assert torch.allclose(y, F.rms_norm(x, (64,), eps=EPS))


def test_residual_rmsnorm_is_the_mix_and_then_the_norm() -> None:
    """The larger op must mean what its parts mean, and hand the stream on unnormed."""
    x, x0 = torch.randn(2, 3, 5, 16, dtype=torch.float64)
    kept, added = torch.tensor([0.7]).double(), torch.tensor([-0.3]).double()
    mixed, y = reference("residual_rmsnorm")(x, x0, kept, added, EPS)
    torch.testing.assert_close(mixed, 0.7 * x - 0.3 * x0, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(y, reference("rmsnorm")(mixed, EPS))


def test_rope_makes_attention_depend_on_the_distance_alone() -> None:
    """That is what rotary embeddings are for, and a wrong pairing or sign breaks it."""
    folder = calls.FOLDERS["rope_qk_norm"]
    case = next(c for c in folder.target.odd_cases if c.name == "long_sequence")
    _, _, cos, sin = calls.draw(folder, case, torch.float64).inputs
    vectors = torch.randn(2, 1, 1, 1, 32, dtype=torch.float64).expand(2, 1, 513, 1, 32)
    q, k = reference("rope_qk_norm")(*vectors, cos, sin, EPS)
    scores = q[0, :, 0] @ k[0, :, 0].T
    for distance in (0, 1, 7, 200):
        along = scores.diagonal(-distance)
        assert torch.allclose(along, along[0].expand_as(along))
    assert not torch.allclose(scores.diagonal(0)[0], scores.diagonal(-7)[0])


def test_attention_prelude_is_three_products_and_then_rope_qk_norm() -> None:
    """The larger op must mean what its parts mean, and leave the values as they are."""
    folder = calls.FOLDERS["attention_prelude"]
    case = next(c for c in folder.target.odd_cases if c.name == "odd_sizes")
    x, *matrices, cos, sin = calls.draw(folder, case, torch.float64).inputs
    q, k, v = (F.linear(x, m.flatten(0, 1)).unflatten(-1, m.shape[:2]) for m in matrices)
    found = reference("attention_prelude")(x, *matrices, cos, sin, EPS)
    torch.testing.assert_close(found, (*reference("rope_qk_norm")(q, k, cos, sin, EPS), v))


def test_relu_squared_by_hand() -> None:
    """Zero below zero, and twice the value as slope above."""
    x = torch.tensor([[[-2.0, 0.0, 0.5, 3.0]]], dtype=torch.float64, requires_grad=True)
    y = reference("relu_squared")(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.flatten().tolist() == [0.0, 0.0, 0.25, 9.0]
    assert slope.flatten().tolist() == [0.0, 0.0, 1.0, 6.0]


def test_fused_mlp_by_hand() -> None:
    """One hidden channel is open, the other shut."""
    x = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64)
    up = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    down = torch.tensor([[2.0, 5.0], [-1.0, 7.0]], dtype=torch.float64)
    y = reference("fused_mlp")(x, up, down)
    (slope,) = torch.autograd.grad(y.sum(), up)
    assert y.flatten().tolist() == [18.0, -9.0]
    assert slope.tolist() == [[6.0, 12.0], [0.0, 0.0]]


def test_value_embed_gate_by_hand() -> None:
    """A gate of 1 where nothing is read, and 2 sigmoid(3) where the one channel says 3."""
    x = torch.tensor([[[0.0, 9.0], [3.0, 9.0]]], dtype=torch.float64)
    weight = torch.ones(1, 1, dtype=torch.float64)
    value, embedding = torch.full((2, 1, 2, 1, 1), 5.0, dtype=torch.float64)
    y = reference("value_embed_gate")(x, weight, value, 2 * embedding)
    gate = 2 / (1 + math.exp(-3.0))
    torch.testing.assert_close(y.flatten(), torch.tensor([15.0, 5.0 + 10 * gate]).double())


def test_softcap_cross_entropy_is_torchs_on_capped_logits() -> None:
    """Same loss and gradient as torch's own; an ignored target costs and teaches nothing."""
    logits = (8 * torch.randn(9, 33, dtype=torch.float64)).requires_grad_()
    targets = torch.tensor([0, 32, -1, 5, 6, -1, 8, 9, 10])
    weights = torch.randn(9, dtype=torch.float64)
    loss = reference("softcap_cross_entropy")(logits, targets, 15.0)
    capped = 15.0 * torch.tanh(logits / 15.0)
    expected = F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")
    assert torch.allclose(loss, expected)
    (found,) = torch.autograd.grad(loss, logits, weights, retain_graph=True)
    (right,) = torch.autograd.grad(expected, logits, weights)
    assert torch.allclose(found, right)
    assert loss[targets < 0].abs().sum() == 0
    assert found[targets < 0].abs().sum() == 0


def test_linear_softcap_cross_entropy_is_the_product_and_then_the_loss() -> None:
    """The larger op must mean what its parts mean, down to the gradient of the head."""
    x, head = torch.randn(9, 16, dtype=torch.float64), torch.randn(33, 16, dtype=torch.float64)
    targets = torch.tensor([0, 32, -1, 5, 6, -1, 8, 9, 10])
    whole, parts = ([t.clone().requires_grad_() for t in (x, head)] for _ in range(2))
    loss = reference("linear_softcap_cross_entropy")(*whole, targets, 15.0)
    logits = F.linear(*parts)
    expected = reference("softcap_cross_entropy")(logits, targets, 15.0)
    torch.testing.assert_close(loss, expected)
    weights = torch.randn(9, dtype=torch.float64)
    found = torch.autograd.grad(loss, whole, weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected, parts, weights))


def test_adamw_step_is_torchs_optimizer() -> None:
    """Three steps from rest, against torch.optim.AdamW as users know it."""
    torch.manual_seed(0)
    weight = torch.randn(20, dtype=torch.float64)
    theirs = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([theirs], 0.1, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0)
    first, second = torch.zeros(2, 20, dtype=torch.float64)
    rate = torch.tensor([0.1], dtype=torch.float64)
    for number in range(1, 4):
        gradient = torch.randn(20, dtype=torch.float64)
        step = torch.tensor([float(number)], dtype=torch.float64)
        weight, first, second = reference("adamw_step")(
            weight, gradient, first, second, rate, step, 0.8, 0.95, 1e-10
        )
        theirs.grad = gradient
        optimizer.step()
        torch.testing.assert_close(weight, theirs.detach())


@pytest.mark.parametrize("shape", [(2, 48, 48), (2, 96, 24), (2, 24, 96), (3, 1, 40)], ids=str)
def test_muon_flattens_singular_values_and_keeps_singular_vectors(
    shape: tuple[int, ...],
) -> None:
    """The result must be near the polar factor U V^T of the very same matrix."""
    torch.manual_seed(0)
    gradient = torch.randn(shape, dtype=torch.float64)
    result = reference("muon_orthogonalize")(gradient, 5.0)
    left, values, right = torch.linalg.svd(gradient, full_matrices=False)
    inner = left.mT @ result @ right.mT
    kept = values / values.amax(-1, keepdim=True) > 0.05
    diagonal = inner.diagonal(dim1=-2, dim2=-1)
    assert bool(((diagonal - 1).abs()[kept] < 0.3).all())
    assert float((inner - torch.diag_embed(diagonal)).abs().max()) < 1e-9


@pytest.mark.parametrize(("sequence", "window"), [(9, 3), (9, 1), (9, 8), (9, 50), (600, 257)])
def test_sliding_window_attention_is_torchs_with_a_mask(sequence: int, window: int) -> None:
    """Same values and gradients as torch's own, across the blocks of queries too."""
    shape = (1, sequence, 2, 8)
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    back = torch.arange(sequence)[:, None] - torch.arange(sequence)[None, :]
    seen = (back >= 0) & (back <= window)
    theirs = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in given), attn_mask=seen)
    expected, found = theirs.transpose(1, 2), reference("sliding_window_attention")(*given, window)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(shape, dtype=torch.float64)
    slopes = torch.autograd.grad(found, given, weights)
    torch.testing.assert_close(slopes, torch.autograd.grad(expected, given, weights))


def test_sliding_window_attention_by_hand() -> None:
    """Equal scores give the mean of what is seen: itself and two before it."""
    values = torch.tensor([1.0, 3.0, 5.0, 11.0, 0.0], dtype=torch.float64)
    q, k = torch.zeros(2, 1, 5, 1, 8, dtype=torch.float64)
    v = values[None, :, None, None].expand(1, 5, 1, 8)
    y = reference("sliding_window_attention")(q, k, v, 2)
    assert y[0, :, 0, 0].tolist() == pytest.approx([1.0, 2.0, 3.0, 19 / 3, 16 / 3])
