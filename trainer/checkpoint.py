"""Checkpoints: a folder of safetensors and JSON, whole or absent, that never holds a pickle.

    results/checkpoints/last/
      model.safetensors        weights by name
      optimizer.safetensors    moments by name
      state.json               configuration, place in the data, budget, fingerprints

    save(folder, weights, optimizer, state)
    load_state(folder);  load_weights(folder);  load_optimizer(folder)

Both engines write the same names and layouts, so that a run can be resumed or evaluated on the
other one. Tensors are numpy arrays here; each engine copies them to and from its own. Everything is
written to a temporary folder beside the target and renamed. Replaces only what is a checkpoint
itself: a folder with anything else in it is refused.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from trainer.errors import DataError, UsageError

FORMAT = 1
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"


def check_target(folder: Path) -> None:
    """Raises `UsageError` if a checkpoint could not be saved at `folder` without harm."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--checkpoint {folder} is a file", "Give a folder.")
    nearest = next(path for path in folder.absolute().parents if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise UsageError(f"--checkpoint {folder}: {nearest} cannot be written to", "Give another.")
    for path in (folder, _aside(folder)):
        if path.is_dir() and any(path.iterdir()) and not (path / STATE).is_file():
            raise UsageError(
                f"{path} holds something that is no checkpoint and would be replaced",
                "Give --checkpoint a folder that is new, empty or an earlier checkpoint.",
            )


def save(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    optimizer: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
) -> None:
    """Writes a checkpoint, replacing an earlier one only once the new one is complete."""
    check_target(folder)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        save_file(_contiguous(weights), temporary / MODEL)
        save_file(_contiguous(optimizer), temporary / OPTIMIZER)
        (temporary / STATE).write_text(json.dumps({"format": FORMAT, **state}, indent=1) + "\n")
        for file in temporary.iterdir():
            _flush(file)
        _replace(folder, temporary)
    except (OSError, SafetensorError) as error:
        raise _write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_state(folder: Path) -> dict[str, Any]:
    """`state.json`. Raises `DataError` if there is no checkpoint or it is damaged."""
    path = _found(folder) / STATE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}", "Use another checkpoint.") from error
    if state.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {state.get('format')}, this version reads {FORMAT}",
            "Train again, or use the version that wrote it.",
        )
    return state


def load_weights(folder: Path) -> dict[str, np.ndarray]:
    """The model's weights by name."""
    return _load(_found(folder) / MODEL)


def load_optimizer(folder: Path) -> dict[str, np.ndarray]:
    """The optimizer's state by name."""
    return _load(_found(folder) / OPTIMIZER)


def check_fit(
    ours: Mapping[str, tuple[int, ...]], saved: Mapping[str, np.ndarray], what: str
) -> None:
    """Raises `DataError` unless the saved tensors have exactly our names and shapes."""
    theirs = {name: tensor.shape for name, tensor in saved.items()}
    if dict(ours) != theirs:
        differing = sorted(
            name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
        )
        raise DataError(
            f"the checkpoint's {what} does not fit: {', '.join(differing[:4])}",
            "It was saved by another version or with another configuration.",
        )


def _found(folder: Path) -> Path:
    """The checkpoint at `folder`, or the one that a killed `save` had moved aside."""
    for candidate in (folder, _aside(folder)):
        if (candidate / STATE).is_file():
            return candidate
    raise DataError(f"there is no checkpoint at {folder}", "Give a folder with a state.json.")


def _aside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.replaced")


def _replace(folder: Path, temporary: Path) -> None:
    aside = _aside(folder)
    _remove(aside)
    if folder.exists():
        folder.rename(aside)
    temporary.rename(folder)
    _remove(aside)


def _remove(folder: Path) -> None:
    """Removes a checkpoint or an empty folder, and nothing else."""
    if (folder / STATE).is_file():
        shutil.rmtree(folder)
    elif folder.is_dir():
        folder.rmdir()


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is damaged: {error}", "Use another checkpoint.") from error


def _contiguous(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """safetensors writes the memory as it lies, so gaps and swapped axes have to go."""
    return {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}


def _flush(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _write_error(folder: Path, error: Exception) -> DataError:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return DataError(
        f"could not save the checkpoint at {folder}: "
        + ("the disk is full" if full or "No space" in str(error) else str(error)),
        "Free some space or give another folder with --checkpoint.",
    )
