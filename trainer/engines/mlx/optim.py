"""MuonAdamW in MLX: Muon for the blocks' matrices, AdamW for embeddings, head and scalars.

    optimizer = MuonAdamW(config, ops.muon_orthogonalize, mx.float32)
    moments = optimizer.moments(weights)                       # zeros
    weights, moments = optimizer.update(weights, moments, gradients, optimizer.numbers(rates))

The mirror of `trainer.engines.torch.optim`. Weights and moments are flat dicts by name, those of a
checkpoint. `update` is pure, so that it compiles; what changes from step to step comes in as arrays
(`numbers`), because MLX compiles a Python number in as a constant. Knows no schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import mlx.core as mx

from trainer.config import TrainConfig
from trainer.engines.mlx.seams import seam
from trainer.parameters import AdamRule, adam_rules, muon_rate_factor, muon_stacks
from trainer.schedule import Rates

Arrays = dict[str, mx.array]
Orthogonalize = Callable[[mx.array, float], mx.array]
AdamStep = Callable[..., tuple[mx.array, mx.array, mx.array]]

TINY = 1e-10
"""Keeps NorMuon's divisions finite."""


class MuonAdamW:
    """Every weight of the model, each trained as upstream trains it. Holds no state."""

    def __init__(
        self,
        config: TrainConfig,
        orthogonalize: Orthogonalize,
        orthogonalize_dtype: mx.Dtype,
        adam_step: AdamStep | None = None,
    ) -> None:
        """`adam_step` is the op that updates a table; None: it is done here."""
        self.config = config
        self._adam_step_op = adam_step
        self._orthogonalize_op, self._orthogonalize_dtype = orthogonalize, orthogonalize_dtype
        self.rules = adam_rules(config)
        self.stacks = muon_stacks(config)

    def moments(self, weights: Mapping[str, mx.array]) -> Arrays:
        """The state before the first step: zeros."""
        found = {}
        for rule in self.rules:
            for name in rule.names:
                found[f"adam.first.{name}"] = mx.zeros_like(weights[name])
                found[f"adam.second.{name}"] = mx.zeros_like(weights[name])
                found[f"adam.steps.{name}"] = mx.zeros(())
        for (rows, columns), names in self.stacks.items():
            reduced = (rows, 1) if rows >= columns else (1, columns)
            for name in names:
                found[f"muon.momentum.{name}"] = mx.zeros((rows, columns))
                found[f"muon.second.{name}"] = mx.zeros(reduced)
        return found

    @staticmethod
    def numbers(rates: Rates) -> Arrays:
        """The rates of one step as arrays."""
        return {
            "scale": mx.array(rates.learning_rate_scale),
            "momentum": mx.array(rates.muon_momentum),
            "fresh": mx.array(1 - rates.muon_momentum),  # in float32 0.05 would lose three digits
            "decay": mx.array(rates.weight_decay),
        }

    def update(
        self,
        weights: Mapping[str, mx.array],
        moments: Mapping[str, mx.array],
        gradients: Mapping[str, mx.array],
        numbers: Mapping[str, mx.array],
    ) -> tuple[Arrays, Arrays]:
        """The weights and moments after one step."""
        new_weights: Arrays = {}
        new_moments: Arrays = {}
        for rule in self.rules:
            for name in rule.names:
                state = [moments[f"adam.{kind}.{name}"] for kind in ("first", "second", "steps")]
                given = (rule, weights[name], gradients[name], state, numbers["scale"])
                if weights[name].ndim == 1:
                    new_weights[name], *state = seam("adamw_lambdas", self._adam, *given)
                elif self._adam_step_op is None:
                    new_weights[name], *state = seam("adamw", self._adam, *given)
                else:
                    new_weights[name], *state = self._adam_step(self._adam_step_op, *given)
                for kind, value in zip(("first", "second", "steps"), state, strict=True):
                    new_moments[f"adam.{kind}.{name}"] = value
        stacked = partial(self._stacked, weights, moments, gradients, numbers)
        for shape, names in self.stacks.items():
            results = seam("muon_update", stacked, shape, names)
            for into, prefix, result in zip(
                (new_weights, new_moments, new_moments),
                ("", "muon.momentum.", "muon.second."),
                results,
                strict=True,
            ):
                into.update((f"{prefix}{name}", result[i]) for i, name in enumerate(names))
        return new_weights, new_moments

    def _adam(
        self,
        rule: AdamRule,
        weight: mx.array,
        gradient: mx.array,
        state: Sequence[mx.array],
        scale: mx.array,
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        """Weight, moments and steps by AdamW without decay; torch's order of operations."""
        first, second, steps = state
        beta1, beta2 = rule.beta1, self.config.adam_beta2
        steps = steps + 1
        first = first + (1 - beta1) * (gradient - first)
        second = beta2 * second + (1 - beta2) * gradient * gradient
        size = scale * rule.learning_rate / _one_minus_power(beta1, steps)
        root = mx.sqrt(second) / mx.sqrt(_one_minus_power(beta2, steps))
        return weight - size * first / (root + rule.eps), first, second, steps

    def _adam_step(
        self,
        op: AdamStep,
        rule: AdamRule,
        weight: mx.array,
        gradient: mx.array,
        state: Sequence[mx.array],
        scale: mx.array,
    ) -> tuple[mx.array, mx.array, mx.array, mx.array]:
        """The same of a table by the op."""
        first, second, steps = state
        steps, rate = steps + 1, scale * rule.learning_rate
        given = [array.flatten() for array in (weight, gradient, first, second)]
        given += [rate.reshape(1), steps.reshape(1)]
        new = op(*given, rule.beta1, self.config.adam_beta2, rule.eps)
        weight, first, second = (array.reshape(weight.shape) for array in new)
        return weight, first, second, steps

    def _stacked(
        self,
        weights: Mapping[str, mx.array],
        moments: Mapping[str, mx.array],
        gradients: Mapping[str, mx.array],
        numbers: Mapping[str, mx.array],
        shape: tuple[int, int],
        names: Sequence[str],
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Weights, momentum and second moments of all matrices of one shape, each in a stack."""
        stacked = [
            mx.stack([arrays[f"{prefix}{name}"] for name in names])
            for arrays, prefix in (
                (weights, ""),
                (gradients, ""),
                (moments, "muon.momentum."),
                (moments, "muon.second."),
            )
        ]
        return self._muon(shape, stacked, numbers)

    def _muon(
        self, shape: tuple[int, int], stacked: Sequence[mx.array], numbers: Mapping[str, mx.array]
    ) -> tuple[mx.array, mx.array, mx.array]:
        """All matrices of one shape. The order of operations is upstream's."""
        weights, gradients, momentum, second = stacked
        momentum = momentum + numbers["fresh"] * (gradients - momentum)
        ahead = gradients + numbers["momentum"] * (momentum - gradients)  # Nesterov
        narrow = ahead.astype(self._orthogonalize_dtype)
        update = self._orthogonalize_op(narrow, float(self.config.muon_steps)).astype(mx.float32)
        scale, second = self._normalisation(shape, update, second)
        update = update * scale
        rate = numbers["scale"] * (self.config.matrix_lr * muon_rate_factor(*shape))
        # cautious: only where the update already shrinks the weight
        shrinks = update * weights >= 0
        weights = mx.where(shrinks, weights - rate * numbers["decay"] * weights, weights)
        return weights - rate * update, momentum, second

    def _normalisation(
        self, shape: tuple[int, int], update: mx.array, second: mx.array
    ) -> tuple[mx.array, mx.array]:
        """NorMuon: divides by the running root mean square, keeps each matrix's Frobenius norm."""
        rows, columns = shape
        axis, size = (-1, columns) if rows >= columns else (-2, rows)
        mean_square = mx.square(update).mean(axis, keepdims=True)
        second = second + (1 - self.config.muon_beta2) * (mean_square - second)
        scale = mx.rsqrt(mx.maximum(second, TINY))
        norm = mx.sqrt(mean_square.sum((-2, -1), keepdims=True) * size)
        scaled = mx.sqrt((mean_square * mx.square(scale)).sum((-2, -1), keepdims=True) * size)
        return scale * (norm / mx.maximum(scaled, TINY)), second


def _one_minus_power(beta: float, steps: mx.array) -> mx.array:
    """1 - beta^steps, without the digits that the subtraction would lose in float32."""
    return -mx.expm1(steps * math.log(beta))
