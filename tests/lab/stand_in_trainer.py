"""A stand-in for train.py that keeps its protocol (heartbeats, turns, the JSON report) and sleeps.

No torch, so a run starts in a blink. Words in the candidate's source say how it misbehaves.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from lab.arm import Arm
from lab.training_run import Settings, Task

SOURCE = """
import hashlib, json, os, sys, threading, time
words = [a for a in sys.argv[1:] if a not in ("--json", "--skip-eval")]
args = dict(zip(words[::2], words[1::2]))
fd, steps = int(args["--heartbeat"]), int(args["--steps"])
turns = os.fdopen(int(args["--turns"]))
source = ""
if "--op" in args:
    source = open(args["--op"].partition("=")[2]).read()
step_s = float(source.partition("STEP_S=")[2].split()[0]) if "STEP_S=" in source else 0.2
def beat(text):
    os.write(fd, (text + "\\n").encode())
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
sha = hashlib.sha256(source.encode()).hexdigest() if source else "incumbent"
if "SECRET" in source:
    os.remove("stderr")
    os.symlink(source.partition("SECRET=")[2].split()[0], "stderr")
    sys.exit(1)
if "PIPE" in source:
    os.rename("stdout", "elsewhere")
    os.mkfifo("stdout")
if "EXIT" in source:
    sys.exit("no such luck")
if "AHEAD" in source:
    time.sleep(0.4 * steps)
if "COMPILE" in source:
    time.sleep(3)
if "DAEMON" in source and os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            work(0.01)
    os._exit(0)
if "THREAD" in source:
    threading.Thread(target=work, args=(1e9,), daemon=True).start()
if "SILENT" not in source:
    beat("ready")
left = 0
for k in range(1, steps + 1):
    if not left:
        left = int(turns.readline())
    left -= 1
    if "CRASH" in source and k == 2:
        sys.exit("out of luck")
    if "HANG" in source and k == 2:
        time.sleep(1000)
    time.sleep(step_s)
    if "EARLY" in source and k == 1:
        beat("step 1\\nstep 2")
    elif not ("SKIP" in source and k == 2):
        beat("step %d" % k)
if "LATER" in source:
    work(0.2 * steps)
beat("done")
folder = args["--checkpoint"]
if "LINK" in source:
    os.symlink("/tmp", folder)
else:
    os.mkdir(folder)
    config = {"sequence": 4096 if "LONGER" in source else 256}
    with open(folder + "/state.json", "w") as file:
        json.dump({"config": config, "step": steps - 1 if "FEWER" in source else steps}, file)
    if "BORROWS" in source:
        os.symlink("/dev/null", folder + "/model.safetensors")
    else:
        with open(folder + "/model.safetensors", "wb") as file:
            file.write(bytes([2] + [0] * 7) + b"{}" + b"?" * ("DAMAGED" in source))
    with open(folder + "/optimizer.safetensors", "wb") as file:
        file.write(bytes([2] + [0] * 7) + b"{}")
used = "other" if "WRONG" in source else sha
ops = {"rmsnorm": {"sha256": used}, "relu_squared": {"sha256": "r"}}
print(json.dumps({"ops": ops}))
"""


def install(folder: Path) -> Path:
    """A root folder with the stand-in as its train.py."""
    folder.mkdir()
    (folder / "train.py").write_text(SOURCE)
    return folder


def task_of(folder: Path, source: str) -> Task:
    """A candidate with this source."""
    path = folder / "candidate_source.py"
    path.write_text(source)
    return Task("rmsnorm", "cpu", path, hashlib.sha256(source.encode()).hexdigest())


def settings(folder: Path, steps: int = 4, **more: object) -> Settings:
    """What the stand-in is told to train."""
    return Settings("tour", "stdlib", steps, "100", folder / "promoted.toml", **more)  # type: ignore[arg-type]


def start(folder: Path, source: str = "", steps: int = 4, **more: object) -> Arm:
    """One arm: the candidate with this source, or without one the incumbent."""
    number = sum(1 for _ in folder.glob("arm*"))
    return Arm(
        task_of(folder, source),
        settings(folder, steps, **more),
        folder / f"arm{number}",
        seed=1,
        steps=steps,
        candidate=bool(source),
    )
