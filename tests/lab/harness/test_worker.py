"""Real workers in the real sandbox: whatever a candidate does, the judge goes on and names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confined import CONFINED

from kernels.spec import TargetFolder
from lab.errors import CommandError
from lab.harness import VerifySettings, forms, inputs, sandbox, verify, worker
from lab.harness.faults import Fault
from lab.harness.inputs import Layout
from lab.harness.session import Session
from lab.harness.shapes import HIDDEN
from lab.harness.worker_process import CPU_ENVIRONMENT, Patience
from lab.outcomes import Failed, Passed
from lab.places import default_results

PATIENCE = Patience(call_s=30.0, memory_bytes=2**30)
Submit = Callable[..., None]


@pytest.fixture
def submit(toy: TargetFolder, tmp_path: Path) -> Iterator[Submit]:
    """Runs one round of a candidate in a real worker; raises its `Fault`."""

    def submit(source: str, patience: Patience = PATIENCE) -> None:
        path = tmp_path / "submitted.py"
        path.write_text(source)
        case = toy.target.odd_cases[0]
        layout = Layout.of(toy.target, case, "float32")
        contents = [inputs.draw(toy.target, case, "float32", inputs.generator())]
        with Session(path, toy.id, "cpu", layout.slot_bytes, patience) as session:
            session.prepare()
            session.arrange(layout, 1)
            forms.exchange(session, inputs.pack(layout, contents), True)

    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield submit
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before, "a worker was left behind"


def call(text: str) -> str:
    """A candidate that does this when it is called."""
    return (
        f"import ctypes, os, sys, time, torch\ndef toynorm(x, eps):\n    {text}\n    return x * 2\n"
    )


GARBAGE = """
import os
def toynorm(x, eps):
    for descriptor in range(3, 4096):
        try:
            os.write(descriptor, b"garbage!" * 99)
        except OSError:
            pass
    return x
"""
WAKES_ITSELF = """
import ctypes, signal, threading
signal.signal(signal.SIGCONT, lambda *given: None)
libc = ctypes.CDLL(None)
for ms in (20, 27, 34, 41):  # one whose signal is pending when the stop comes never fires again
    timer = ctypes.c_void_p()
    libc.timer_create(1, (ctypes.c_int * 16)(0, 0, signal.SIGCONT, 0), ctypes.byref(timer))
    libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, ms * 10**6, 0, ms * 10**6), None)
def work():
    while True:
        pass
threading.Thread(target=work, daemon=True).start()
def toynorm(x, eps):
    return x
"""
FRAME = "import struct, json\ndef frame(said):\n    body = json.dumps(said).encode()\n"
FRAME += "    return struct.pack('>4sI', b'KLAB', len(body)) + body\n"

HOSTILE = {
    "exits while it is imported": ("import os; os._exit(0)", "exit", "exit code 0"),
    "exits in the middle": (call("sys.exit(0)"), "exit", "exit code 0"),
    "raises SystemExit on import": ("raise SystemExit(3)", "exit", "exit code 3"),
    "segfaults": (call("ctypes.string_at(0)"), "crash", "signal 11"),
    "kills itself": (call("os.kill(os.getpid(), 9)"), "crash", "signal 9"),
    "prints a megabyte": (
        call("print('x' * 1_000_000, flush=True); time.sleep(0.1)"),
        "output_flood",
        "megabyte",
    ),
    "asks for 100 GB": (call("torch.empty(100 * 10**9, dtype=torch.uint8)"), "memory", "allocate"),
    "hoards memory": (call("hoard = [bytes(10**7) + b'x' for _ in range(10**6)]"), "memory", ""),
    "is parsed for ever": ("x = " + "-" * 300_000 + "1", "syntax", ""),
    "is nested too deeply": ("x = " + "(" * 5000 + ")" * 5000, "syntax", ""),
}
if sys.platform == "linux":
    HOSTILE |= {
        "writes garbage everywhere": (GARBAGE, "protocol", "control channel"),
        "closes everything and runs on": (
            call("os.closerange(3, 256); time.sleep(600)"),
            "protocol",
            "ran on",
        ),
        "answers in the worker's place": (
            FRAME + "import os, sys\n"
            "os.write(int(sys.argv[2]), frame({'type': 'Done', 'number': 4}) * 2)\n"
            "def toynorm(x, eps):\n    return x",
            "protocol",
            "answer 4 to question 5",
        ),
        "answers nonsense": (
            FRAME + "import os, sys\n"
            "os.write(int(sys.argv[2]), frame({'type': 'Done', 'number': 4, 'verdict': 'pass'}))\n"
            "def toynorm(x, eps):\n    return x",
            "protocol",
            "no known type",
        ),
    }


@pytest.mark.parametrize(("source", "reason", "words"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_candidate_fails_with_its_reason(
    submit: Submit, source: str, reason: str, words: str
) -> None:
    """None of this may hang the judge, crash it, or look like a pass."""
    with pytest.raises(Fault) as caught:
        submit(source)
    assert caught.value.reason == reason, caught.value.detail
    assert words in caught.value.detail


@pytest.mark.skipif(sys.platform != "linux", reason="timers that send signals are Linux's")
def test_a_candidate_that_has_itself_woken_is_found_out(
    toy: TargetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it works ahead, or disturbs the others while they are timed: SIGCONT ends a stop. Where
    system calls are filtered it gets no timer; elsewhere its CPU time tells."""
    monkeypatch.setattr(sandbox, "_filter", lambda *given: "")
    path = tmp_path / "submitted.py"
    path.write_text(WAKES_ITSELF)
    layout = Layout.of(toy.target, toy.target.odd_cases[0], "float32")
    with Session(path, toy.id, "cpu", layout.slot_bytes, PATIENCE) as session:
        session.prepare()
        time.sleep(0.2)
        with pytest.raises(Fault) as caught:
            session.arrange(layout, 1)
    assert caught.value.reason == "protocol", caught.value.detail
    assert "stopped" in caught.value.detail


def test_a_candidate_that_never_returns_is_timed_out(submit: Submit) -> None:
    """The judge's patience ends by its own clock."""
    with pytest.raises(Fault) as caught:
        submit(call("while True: pass"), Patience(call_s=1.0))
    assert caught.value.reason == "timeout"


SPY = """
import glob, json, os, socket, sys
def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
def toynorm(x, eps):
    frames, frame = [], sys._getframe()
    while frame:
        if frame.f_code.co_name not in ("<module>", "toynorm"):
            frames += [f"{k}={v!r}" for k, v in frame.f_locals.items()]
        frame = frame.f_back
    raise RuntimeError(json.dumps({
        "argv": sys.argv, "cwd": os.listdir(), "env": sorted(os.environ),
        "ledger": attempt(lambda: open(LEDGER).read()),
        "harness": attempt(lambda: open(HARNESS).read()),
        "outside": attempt(lambda: open(OUTSIDE, "w").write("x")),
        "network": attempt(lambda: socket.create_connection(("192.0.2.1", 80), timeout=1)),
        "known": [w for w in ("train", "odd", "seed", "tolerance", "oracle", "expected")
                  if any(w in f for f in frames)],
    }))
"""


@pytest.mark.skipif(not CONFINED, reason="no sandbox works on this machine")
def test_a_worker_knows_and_reaches_nothing_that_it_should_not(
    submit: Submit, tmp_path: Path
) -> None:
    """No ledger, no harness, no network, no disk, and no word of what is expected of it."""
    ledger = default_results() / "ledger.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("secret")
    constants = f"LEDGER, HARNESS, OUTSIDE = {str(ledger)!r}, {inputs.__file__!r}, "
    constants += f"{str(tmp_path / 'written')!r}\n"
    with pytest.raises(Fault) as caught:
        submit(constants + SPY)
    assert caught.value.reason == "raised"
    text = caught.value.detail
    found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert found["ledger"] == found["harness"] == "FileNotFoundError"
    assert found["outside"] in ("FileNotFoundError", "OSError", "PermissionError")
    assert found["network"] == "OSError"
    assert not (tmp_path / "written").exists()
    assert sorted(found["cwd"]) == ["candidate.py", "tmp"]
    assert found["argv"][0].endswith("worker.py")
    assert all(word.isdigit() for word in found["argv"][1:])
    assert set(found["env"]) <= {
        *sandbox.PASSED_ON,
        *CPU_ENVIRONMENT,
        "HOME",
        "TMPDIR",
        "USER",
        "LOGNAME",
    }
    assert found["known"] == []


def test_verify_passes_the_incumbent_and_leaves_nothing_behind(toy: TargetFolder) -> None:
    """The whole stage once, with real processes and all cases."""
    seen: list[tuple[str, int, int]] = []
    before = set(os.listdir("/dev/fd"))
    outcome = verify(
        toy.incumbent("torch"),
        toy,
        toy.target.cases(None),  # type: ignore[arg-type]
        engine="cpu",
        progress=lambda *step: seen.append(step),
    )
    assert isinstance(outcome, Passed), outcome
    hidden = {check.case for check in outcome.checks if check.case.startswith("hidden_")}
    assert len(hidden) == HIDDEN
    assert len(outcome.checks) == (5 + HIDDEN) * 2 * 2
    assert outcome.no_change_of == "incumbent"
    last = (5 + HIDDEN) * 2
    assert seen[0] == ("verify toynorm", 0, last)
    assert seen[-1] == ("verify toynorm", last, last)
    assert set(os.listdir("/dev/fd")) == before, "descriptors are leaking"


LIAR = """
import torch
torch.Tensor.copy_ = lambda *arguments, **more: None
torch.equal = torch.allclose = lambda *arguments, **more: True
def toynorm(x, eps):
    return torch.nn.functional.rms_norm(x, (x.shape[-1],), eps=eps)
"""


def test_patching_the_worker_only_hurts_the_candidate(toy: TargetFolder, tmp_path: Path) -> None:
    """Nothing that decides runs where the candidate can reach it."""
    path = tmp_path / "liar.py"
    path.write_text(LIAR)
    settings = VerifySettings(dtypes=("float32",))
    outcome = verify(path, toy, toy.target.odd_cases, engine="cpu", settings=settings)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "not_finite"


def test_a_file_that_is_not_there_is_the_commands_fault(toy: TargetFolder, tmp_path: Path) -> None:
    """A typing error in a path is no verdict on a candidate."""
    with pytest.raises(CommandError, match="cannot be read"):
        verify(tmp_path / "none.py", toy, toy.target.odd_cases, engine="cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds threads to cores")
def test_workers_that_start_at_once_do_not_share_a_core() -> None:
    """OpenMP binds each to the first core: importing torch took twice as long for two."""
    program = (
        "import os, runpy\n"
        f"worker = runpy.run_path({worker.__file__!r})\n"
        "cores = [os.sched_getaffinity(0)]\n"
        "with worker['on_any_core']():\n"
        "    import torch\n"
        "    cores.append(os.sched_getaffinity(0))\n"
        "cores.append(os.sched_getaffinity(0))\n"
        "print(*map(len, cores), len(os.listdir('/proc/self/task')))\n"
    )
    environment = {**os.environ, "OMP_PROC_BIND": "true"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    before, meanwhile, after, threads = map(int, ran.stdout.split())
    assert meanwhile == before
    assert after == 1, "bound as OpenMP wants it, as long as calls are timed"
    assert threads == 1, "nothing else is at work when the candidate is imported"
