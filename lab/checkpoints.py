"""Is what a run left behind its own checkpoint, and that of the model that was ordered?

    found = trouble(incumbent_folder, candidate_folder)    # one line, or None

The clean evaluation opens a checkpoint by its path and with the lab's rights, and the candidate's
run wrote what lies there. A link would lead it to any other checkpoint, the incumbent's for one;
another configuration would have the same weights evaluated on longer rows. So every file must be a
plain one, and say of itself what the incumbent's of the same pair says: configuration, data, step,
names and shapes of the tensors. Whether they were trained is for `lab.scoring` to say.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from lab.plain_files import open_plain

STATE, TENSORS = "state.json", ("model.safetensors", "optimizer.safetensors")
SAME = ("config", "preset", "data_sha256", "tokenizer_sha256", "vocab", "engine", "step")
"""What two runs of a pair have in common in their state."""
LONGEST = 2**24
"""Bytes of a state, and of the header of a file of tensors."""


def trouble(incumbent: Path, candidate: Path) -> str | None:
    """Why the candidate's checkpoint cannot be evaluated as what was ordered, in one line."""
    try:
        ours, theirs = _about(candidate), _about(incumbent)
    except (OSError, ValueError, RecursionError) as error:
        return f"its checkpoint cannot be used: {error}"
    different = sorted(name for name, value in theirs.items() if ours[name] != value)
    if different:
        return f"its checkpoint is of another model than ordered: {', '.join(different)} differ"
    return None


def _about(folder: Path) -> dict[str, object]:
    """What a checkpoint says of itself. Raises `OSError` or `ValueError`."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise ValueError("it is a link, or no folder")
    with open_plain(folder / STATE) as file:
        state = json.loads(file.read(LONGEST))
    if not isinstance(state, dict):
        raise ValueError(f"{STATE} holds no object")
    return {name: state.get(name) for name in SAME} | {
        name: _head(folder / name) for name in TENSORS
    }


def _head(path: Path) -> tuple[int, bytes]:
    """Size of a file of tensors, and its header: their names, types, shapes and places."""
    with open_plain(path) as file:
        size = int.from_bytes(file.read(8), "little")
        header = file.read(size) if size <= LONGEST else b""
        return os.fstat(file.fileno()).st_size, header
