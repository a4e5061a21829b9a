"""Whether MLX can be imported here, and computes on Metal or the CPU.

MLX is one package with a backend beside it (mlx-metal, mlx-cpu or mlx-cuda). Without one the import
fails inside the dynamic linker; with that for NVIDIA it would compute where this engine was never
tried. Both end in an `EngineError` that says what to install. Importing this file imports no MLX.
"""

from __future__ import annotations

import sys

from trainer.errors import EngineError

PACKAGE = {"darwin": "mlx", "linux": "mlx[cpu]"}
"""What holds MLX and its backend, by platform."""


def require_mlx() -> None:
    """Raises `EngineError` unless MLX is here with Metal or the CPU to compute on."""
    try:
        import mlx.core as mx
    except ImportError as error:
        what = f"MLX cannot be imported: {str(error).splitlines()[0]}"
        raise EngineError(what, install_hint()) from error
    if not mx.metal.is_available() and mx.is_available(mx.gpu):
        raise EngineError("this MLX is built for an NVIDIA GPU", install_hint())


def install_hint() -> str:
    """Which package to install on this platform."""
    if sys.platform not in PACKAGE:
        return "MLX runs on macOS and Linux; use --engine cpu or cuda here."
    package = PACKAGE[sys.platform]
    needs = (
        "macOS 14 or later on Apple silicon, and a Python built for arm64"
        if sys.platform == "darwin"
        else "glibc 2.35 or later"
    )
    return f"Install it: uv pip install '{package}' (it needs {needs}), or use another --engine."
