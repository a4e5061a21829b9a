"""The process that runs one launch: started as a script, it holds the buffers and nothing else.

    python -I -S child.py MAPPING_FD RUNTIME KERNEL GUARD,GUARD,...

It maps the launch's memory, closes the pages at the GUARD offsets, loads the C library's
mathematics, the runtime and the kernel, and goes over to the runtime, which ends the process. It
never imports the lab, and its result is only what the runtime leaves in the mapping. A checked call
starts four to six of these: pathlib and typing alone would double the time that one takes.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import sys

LIMIT_BYTES = 16 << 30


def main(mapping_fd: int, runtime_path: str, kernel_path: str, guards: str) -> None:
    """Does not return."""
    import resource

    sys.path.append(os.path.dirname(__file__))
    layout = importlib.import_module("layout")

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    size = os.fstat(mapping_fd).st_size
    mapping = mmap.mmap(mapping_fd, size, flags=mmap.MAP_SHARED)
    base = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in filter(None, guards.split(",")):
        page = ctypes.c_void_p(base + int(guard))
        if libc.mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.CDLL("libm.so.6", mode=ctypes.RTLD_GLOBAL)
    runtime = ctypes.CDLL(runtime_path, mode=ctypes.RTLD_GLOBAL)
    runtime.metal_sim_size.restype = ctypes.c_uint64
    for which, structure in enumerate(layout.STRUCTURES):
        if runtime.metal_sim_size(which) != ctypes.sizeof(structure):
            raise RuntimeError(f"{structure.__name__} differs between layout.py and layout.h")
    kernel = ctypes.CDLL(kernel_path)
    job = layout.Job.from_buffer(mapping)
    entry = ctypes.cast(kernel.metal_sim_entry, ctypes.c_void_p).value or 0
    runtime.metal_sim_run(ctypes.c_void_p(base), ctypes.c_void_p(entry - job.entry))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4])
