"""The optimizer's own behaviour; that it computes upstream's formulas is in test_model.py."""

from __future__ import annotations

import pytest
import torch
from small_run import SMALL, incumbents

from trainer.config import muon_matrices
from trainer.engines.torch.model import GPT
from trainer.engines.torch.optim import MuonAdamW
from trainer.errors import EngineError
from trainer.schedule import Rates

VOCAB = 61
RATES = Rates(learning_rate_scale=1.0, muon_momentum=0.9, weight_decay=0.1)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def model_and_optimizer(whole: str = "") -> tuple[GPT, MuonAdamW]:
    """`whole` is the op that updates the tables; without, torch does."""
    model, ops = GPT(SMALL, VOCAB, incumbents()).initialise(0), incumbents()
    orthogonalize = ops["muon_orthogonalize"].function
    step = ops[whole].function if whole else None
    return model, MuonAdamW(model, SMALL, orthogonalize, torch.float32, step)


def set_gradients(model: GPT, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_every_weight_is_trained_by_exactly_one_rule() -> None:
    """A forgotten parameter would silently stay at its initial value."""
    model, optimizer = model_and_optimizer()
    adam = [name for group in optimizer.groups for name in group.names]
    muon = [name for stack in optimizer.stacks for name in stack.names]
    assert sorted(adam + muon) == sorted(name for name, _ in model.named_parameters())


def test_a_whole_adamw_step_trains_as_torchs_does_and_keeps_the_state() -> None:
    """It returns new tensors: the model and a checkpoint must hold these and not the old ones."""
    (model, optimizer), (other, whole) = (model_and_optimizer(name) for name in ("", "adamw_step"))
    for seed in (1, 2):
        for each, steps in ((model, optimizer), (other, whole)):
            set_gradients(each, seed)
            steps.step(RATES)
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, msg=name)
    for name, tensor in optimizer.state().items():
        torch.testing.assert_close(whole.state()[name], tensor, msg=name)


def test_stacks_have_the_shapes_that_the_kernels_are_judged_at() -> None:
    """`muon_orthogonalize` is verified and timed at the shapes of `trainer.config`, not here."""
    _, optimizer = model_and_optimizer()
    shapes = {tuple(stack.weights.shape) for stack in optimizer.stacks}
    assert shapes == set(muon_matrices(SMALL))


def test_the_models_matrices_are_the_stacks() -> None:
    """Were they copies, the optimizer would train weights that the model never uses."""
    model, optimizer = model_and_optimizer()
    set_gradients(model, 1)
    before = model.layers[0].query.detach().clone()
    optimizer.step(RATES)
    stack = next(s for s in optimizer.stacks if "layers.0.query" in s.names)
    assert torch.equal(model.layers[0].query, stack.weights[stack.names.index("layers.0.query")])
    assert not torch.equal(model.layers[0].query, before)


def test_updates_keep_their_size_whatever_the_gradients_scale() -> None:
    """Orthogonalized updates do not explode with the gradients: a matrix moves at its own rate."""
    moved = []
    for scale in (1e-3, 1e3):
        model, optimizer = model_and_optimizer()
        set_gradients(model, 2)
        before = model.layers[1].up.detach().clone()
        for parameter in model.parameters():
            parameter.grad.mul_(scale)
        optimizer.step(Rates(1.0, 0.9, 0.0))
        moved.append(float((model.layers[1].up.detach() - before).norm()))
    assert moved[0] == pytest.approx(moved[1], rel=1e-3)


def test_weight_decay_is_cautious() -> None:
    """It may only help an update that already shrinks the weight, never fight one that grows it."""
    with_decay, without = [], []
    for decay, matrices in ((0.1, with_decay), (0.0, without)):
        model, optimizer = model_and_optimizer()
        set_gradients(model, 3)
        start = model.layers[0].up.detach().clone()
        optimizer.step(Rates(1.0, 0.9, decay))
        matrices.append(model.layers[0].up.detach().clone())
    change = without[0] - start
    shrinks = change * start <= 0
    extra = with_decay[0] - without[0]
    assert not extra[~shrinks].any()
    expected = -SMALL.matrix_lr * 2 * 0.1 * start  # rows / columns is 4: the rate is doubled
    assert torch.allclose(extra[shrinks], expected[shrinks], atol=1e-6)


def test_a_zero_gradient_moves_no_matrix_and_makes_no_nan() -> None:
    """At the first step whole matrices have no gradient, because the blocks' outputs are zero."""
    model, optimizer = model_and_optimizer()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    optimizer.step(Rates(1.0, 0.9, 0.0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_parameters())


def test_the_first_step_does_not_turn_rounding_noise_into_lambdas() -> None:
    """With upstream's epsilon the order of additions decides over jumps of 0.5, and two runs that
    differ by rounding come out as different as two seeds."""
    model, optimizer = model_and_optimizer()
    tokens = torch.randint(VOCAB, (2, SMALL.sequence), generator=torch.Generator().manual_seed(6))
    model(tokens, tokens.roll(-1, 1)).mean().backward()
    lambdas = (model.residual_lambdas, model.embedding_lambdas)
    before = [one.detach().clone() for one in lambdas]
    assert all(float(one.grad.abs().max()) < 1e-8 for one in lambdas), "exactly zero on paper"
    optimizer.step(RATES)
    for one, old in zip(lambdas, before, strict=True):
        assert torch.allclose(one.detach(), old, rtol=0, atol=1e-2)


def test_lambdas_learn_at_their_rate_from_real_gradients() -> None:
    """The epsilon that swallows the noise must not slow them down."""
    model, optimizer = model_and_optimizer()
    set_gradients(model, 7)
    model.embedding_lambdas.grad.fill_(1e-3)
    before = model.embedding_lambdas.detach().clone()
    optimizer.step(RATES)
    moved = before - model.embedding_lambdas.detach()
    assert torch.allclose(moved, torch.full_like(moved, SMALL.scalar_lr), rtol=2e-3)


def test_an_op_that_cuts_the_graph_is_named_as_the_cause() -> None:
    """Otherwise the weights behind it would stay as they are and nobody would know."""
    model, optimizer = model_and_optimizer()
    set_gradients(model, 4)
    model.layers[0].query.grad = None
    with pytest.raises(EngineError, match="no gradient"):
        optimizer.step(RATES)


def test_state_names_every_moment_once_and_shares_memory() -> None:
    """A checkpoint is made of these, and a snapshot is copied back into them."""
    model, optimizer = model_and_optimizer()
    state = optimizer.state()
    adam = sum(len(group.names) for group in optimizer.groups)
    muon = sum(len(stack.names) for stack in optimizer.stacks)
    assert len(state) == 3 * adam + 2 * muon
    set_gradients(model, 5)
    optimizer.step(RATES)
    assert all(float(state[f"adam.steps.{name}"]) == 1 for name in ("head", "residual_lambdas"))
    assert state["muon.momentum.layers.0.query"].any()
