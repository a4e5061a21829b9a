"""The engines: one that computes with torch, one with MLX. The loop knows neither.

    engine = build(name, config, vocab, ops, compile_model=None)

Imports a framework only when an engine in it is built.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from trainer.config import TrainConfig
from trainer.hardware import framework
from trainer.loop import Engine
from trainer.ops import OpTable


def build(
    name: str, config: TrainConfig, vocab: int, ops: OpTable, compile_model: bool | None = None
) -> Engine:
    """A model in fresh training on the engine of that name, which must be here."""
    if framework(name) == "mlx":
        from trainer.engines.mlx.engine import MLXEngine

        return MLXEngine(name, config, vocab, ops, compile_model)
    from trainer.engines.torch.engine import TorchEngine

    return TorchEngine(name, config, vocab, ops, compile_model)


def instrument(engine: str, name: str) -> ModuleType:
    """What the engine's framework has under that name: `recording`, `switches` …"""
    return import_module(f"trainer.engines.{framework(engine)}.{name}")
