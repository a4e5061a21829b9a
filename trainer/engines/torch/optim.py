"""MuonAdamW, the optimizer of karpathy/autoresearch: Muon for the blocks' matrices, AdamW for the
embeddings, the head and the scalars.

    optimizer = MuonAdamW(model, config, ops.muon_orthogonalize, torch.float32)
    optimizer.step(rates)                # after the gradients are there
    optimizer.clear_gradients()

Matrices of one shape live in one stack [count, rows, columns], of which the model's parameters are
views, so that a step is a handful of batched calls and copies only gradients. All state is
allocated at construction. Build it after the model is on its device. Knows no schedule: the rates
of the step are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from trainer.config import TrainConfig
from trainer.engines.torch.model import GPT
from trainer.errors import EngineError
from trainer.parameters import adam_rules, muon_rate_factor, muon_stacks
from trainer.schedule import Rates
from trainer.scopes import scope

Orthogonalize = Callable[[Tensor, float], Tensor]
AdamStep = Callable[..., tuple[Tensor, Tensor, Tensor]]

TINY = 1e-10
"""Keeps NorMuon's divisions finite."""


@dataclass(frozen=True)
class AdamGroup:
    """Parameters with one learning rate, and their state."""

    names: list[str]
    parameters: list[Tensor]
    learning_rate: float
    beta1: float
    eps: float
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]


class MuonStack:
    """All matrices of one shape: momentum, orthogonalization, NorMuon, cautious weight decay."""

    def __init__(self, names: list[str], parameters: list[nn.Parameter]) -> None:
        self.names = names
        self.parameters = parameters
        self.weights = torch.stack([parameter.detach() for parameter in parameters])
        for parameter, weight in zip(parameters, self.weights, strict=True):
            parameter.data = weight
        count, rows, columns = self.weights.shape
        self.gradients = torch.empty_like(self.weights)
        self.momentum = torch.zeros_like(self.weights)
        # the second moment is kept per row of a tall or square matrix, per column of a wide one
        self.reduced = -1 if rows >= columns else -2
        shape = (count, rows, 1) if self.reduced == -1 else (count, 1, columns)
        self.second_moment = self.weights.new_zeros(shape)
        self.rate_factor = muon_rate_factor(rows, columns)

    def step(
        self,
        orthogonalize: Callable[[Tensor], Tensor],
        rates: Rates,
        learning_rate: float,
        beta2: float,
    ) -> None:
        """One update of every matrix. The order of operations is upstream's."""
        gradients = self.gradients
        torch.stack([_gradient(parameter) for parameter in self.parameters], out=gradients)
        self.momentum.lerp_(gradients, 1 - rates.muon_momentum)
        gradients.lerp_(self.momentum, rates.muon_momentum)  # Nesterov
        update = orthogonalize(gradients)
        update.mul_(self._normalisation(update, beta2))
        rate = learning_rate * rates.learning_rate_scale * self.rate_factor
        if rates.weight_decay:
            # cautious: only where the update already shrinks the weight
            decay = torch.mul(update, self.weights, out=gradients).ge_(0).mul_(self.weights)
            self.weights.sub_(decay, alpha=rate * rates.weight_decay)
        self.weights.sub_(update, alpha=rate)

    def _normalisation(self, update: Tensor, beta2: float) -> Tensor:
        """NorMuon: divides by the running root mean square, keeps each matrix's Frobenius norm."""
        size = update.shape[self.reduced]
        mean_square = torch.linalg.vector_norm(update, dim=self.reduced, keepdim=True)
        mean_square.square_().div_(size)
        self.second_moment.lerp_(mean_square, 1 - beta2)
        scale = self.second_moment.clamp_min(TINY).rsqrt_()
        norm = mean_square.sum((-2, -1), keepdim=True).mul_(size).sqrt_()
        scaled = (mean_square * scale.square()).sum((-2, -1), keepdim=True).mul_(size).sqrt_()
        return scale.mul_(norm / scaled.clamp_min_(TINY))


class MuonAdamW:
    """Every parameter of a `GPT`, each trained as upstream trains it."""

    def __init__(
        self,
        model: GPT,
        config: TrainConfig,
        orthogonalize: Orthogonalize,
        orthogonalize_dtype: torch.dtype,
        adam_step: AdamStep | None = None,
    ) -> None:
        """`adam_step` is the op that updates a table; None leaves it to torch."""
        self.config = config
        self._adam_step_op = adam_step
        self._orthogonalize_op = orthogonalize
        self._orthogonalize_dtype = orthogonalize_dtype
        self.groups = list(_adam_groups(model, config))
        self.stacks = list(_muon_stacks(model, config))
        self._parameters = list(model.parameters())

    @torch.no_grad()
    def step(self, rates: Rates) -> None:
        """Updates all weights from their gradients."""
        for group in self.groups:
            for index, parameter in enumerate(group.parameters):
                if parameter.ndim == 1:
                    with scope("op:adamw_lambdas"):
                        self._adam(group, index, rates)
                elif self._adam_step_op is None:
                    with scope("op:adamw"):
                        self._adam(group, index, rates)
                else:
                    self._adam_step(self._adam_step_op, group, index, rates)
        with scope("op:muon_update"):
            for stack in self.stacks:
                stack.step(
                    self._orthogonalize, rates, self.config.matrix_lr, self.config.muon_beta2
                )

    def clear_gradients(self) -> None:
        """Forgets the gradients; the next backward writes new ones instead of adding."""
        with scope("op:zero_grad"):
            for parameter in self._parameters:
                parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Every state tensor by name, the very tensors and not copies."""
        tensors = {}
        for group in self.groups:
            for kind in ("first", "second", "steps"):
                for name, tensor in zip(group.names, getattr(group, kind), strict=True):
                    tensors[f"adam.{kind}.{name}"] = tensor
        for stack in self.stacks:
            for name, momentum, second in zip(
                stack.names, stack.momentum, stack.second_moment, strict=True
            ):
                tensors[f"muon.momentum.{name}"] = momentum
                tensors[f"muon.second.{name}"] = second
        return tensors

    def _adam(self, group: AdamGroup, index: int, rates: Rates) -> None:
        adamw(
            [group.parameters[index]],
            [_gradient(group.parameters[index])],
            [group.first[index]],
            [group.second[index]],
            [],
            [group.steps[index]],
            fused=True,  # one pass over the memory; a third of the unfused one's time on a CPU
            amsgrad=False,
            beta1=group.beta1,
            beta2=self.config.adam_beta2,
            lr=group.learning_rate * rates.learning_rate_scale,
            weight_decay=0.0,
            eps=group.eps,
            maximize=False,
        )

    def _adam_step(self, op: AdamStep, group: AdamGroup, index: int, rates: Rates) -> None:
        """The same by the op, which returns new tensors; they are taken over, not copied."""
        parameter = group.parameters[index]
        with scope("op:arguments"):
            rate = group.learning_rate * rates.learning_rate_scale
            group.steps[index] += 1
            old = (parameter.detach(), _gradient(parameter), group.first[index])
            given = [tensor.flatten() for tensor in (*old, group.second[index])]
            given += [parameter.new_full((1,), rate), group.steps[index].view(1)]
        with scope("op:adamw_step"):
            new = op(*given, group.beta1, self.config.adam_beta2, group.eps)
        with scope("op:arguments"):
            weight, first, second = (tensor.view_as(parameter) for tensor in new)
            parameter.data, group.first[index], group.second[index] = weight, first, second

    def _orthogonalize(self, gradients: Tensor) -> Tensor:
        narrow = gradients.to(self._orthogonalize_dtype)
        with scope("op:muon_orthogonalize"):
            update = self._orthogonalize_op(narrow, float(self.config.muon_steps))
        return update.to(gradients.dtype)


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        raise EngineError(
            "a parameter got no gradient: one of the ops cuts the graph",
            "Leave out the --op that was added last, or make it differentiable.",
        )
    return parameter.grad


def _adam_groups(model: GPT, config: TrainConfig) -> Iterator[AdamGroup]:
    """One group per learning rate, with fresh state."""
    weights = dict(model.named_parameters())
    for rule in adam_rules(config):
        tensors: list[Tensor] = [weights[name] for name in rule.names]
        yield AdamGroup(
            list(rule.names),
            tensors,
            rule.learning_rate,
            rule.beta1,
            rule.eps,
            [torch.zeros_like(tensor, requires_grad=False) for tensor in tensors],
            [torch.zeros_like(tensor, requires_grad=False) for tensor in tensors],
            [torch.zeros((), dtype=torch.float32, device=tensor.device) for tensor in tensors],
        )


def _muon_stacks(model: GPT, config: TrainConfig) -> Iterator[MuonStack]:
    """One stack per distinct shape of the blocks' matrices."""
    weights = dict(model.named_parameters())
    for names in muon_stacks(config).values():
        yield MuonStack(list(names), [weights[name] for name in names])
