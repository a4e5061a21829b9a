"""Kills writers and readers of one ledger at random moments, by the hundred, and counts the lost.

    python tests/lab/ledger_kills.py --writers 16 --kills 2000 FOLDER

The driver keeps the given number of processes at work on `FOLDER/ledger.jsonl` and kills one after
the other with SIGKILL; half of the kills fall while a lone process is at work, which is then always
somewhere inside an append. Each process appends records and reports every id that `append`
returned. Every second one writes a few bytes at a time, so that kills fall inside lines; every
second one has a clock that jumps by up to a day, back as well; each looks its own records up by way
of the index, which it keeps up to date to the last byte, and so is killed while it writes that.

Prints what came out as JSON. `lost` must be 0, `sound` and `found` true, `complaints` empty.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from made_records import opened  # noqa: E402

from lab import ledger_file, ledger_index  # noqa: E402
from lab.ledger import Ledger  # noqa: E402
from lab.ledger_keys import Wanted  # noqa: E402

MEAN_LIFE_S = 0.015
"""Between two kills, about the time of three appends."""


def short_writes(file: int, data: bytes, offset: int, whole: Any = os.pwrite) -> int:
    """As `os.pwrite` may do at any time: a part of it. Slowly, so that kills hit what is torn."""
    time.sleep(0.0003)
    return int(whole(file, data[: random.randint(1, 90)], offset))


def work(path: Path, report: int, number: int) -> NoReturn:
    """Appends and looks up until it is killed."""
    random.seed(number)
    if number % 2:
        ledger_file.os.pwrite = short_writes
    if number % 4 < 2:
        clock = time.time_ns
        time.time_ns = lambda: clock() + random.randint(-86_400, 86_400) * 10**9
    ledger_index.TAIL_BYTES = 1
    name, mine = f"process-{number}", []
    try:
        ledger = Ledger(path)
        while True:
            record = ledger.append(opened(workspace=name, seal_sha256=str(len(mine))))
            os.write(report, f"{record.id} {name} {len(mine)}\n".encode())
            mine.append(record)
            if list(ledger.find(kind="opened", workspace=name)) != mine:
                os.write(report, f"COMPLAINT {name} does not find what it appended\n".encode())
    except BaseException as error:
        os.write(report, f"COMPLAINT {name}: {error!r}\n".encode())
    os._exit(1)


class Driver:
    """Keeps processes at work, kills them, and notes what they reported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = 0
        self.running: list[tuple[int, int]] = []
        self.reports: list[str] = []

    def start(self) -> None:
        """One more process."""
        reading, writing = os.pipe()
        self.started += 1
        process = os.fork()
        if process == 0:
            work(self.path, writing, self.started)
        os.close(writing)
        self.running.append((process, reading))

    def kill(self) -> None:
        """Ends one of them, whatever it is doing, and reads all that it reported."""
        process, reading = self.running.pop(random.randrange(len(self.running)))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        with os.fdopen(reading) as pipe:
            self.reports += pipe.read().splitlines()

    def run(self, writers: int, kills: int) -> None:
        """That many kills with that many processes at work all the time."""
        for _ in range(kills):
            while len(self.running) < writers:
                self.start()
            time.sleep(random.expovariate(1 / MEAN_LIFE_S))
            self.kill()
        while self.running:
            self.kill()


def outcome(driver: Driver) -> dict[str, Any]:
    """What the ledger holds of what was reported, and whether index and scan agree on it."""
    ledger_index.TAIL_BYTES = 1
    ledger = Ledger(driver.path)
    ledger.append(opened(workspace="after"))
    held = {f"{r.id} {r.workspace} {r.seal_sha256}" for r in ledger.find(kind="opened")}
    accepted = [line for line in driver.reports if not line.startswith("COMPLAINT")]
    aside = list(ledger.find(kind="set_aside"))
    kept = [(driver.path.parent / note.file).stat().st_size for note in aside]
    wanted = Wanted(kind="opened", workspace=f"process-{driver.started}")
    return {
        "killed": driver.started,
        "accepted": len(accepted),
        "lost": sum(line not in held for line in accepted),
        "torn_lines_set_aside": len(aside),
        "sound": ledger.verify().ok and kept == [note.bytes_set_aside for note in aside],
        "found": list(ledger.find_any(wanted)) == list(ledger.find_any(wanted, indexed=False)),
        "complaints": [line for line in driver.reports if line.startswith("COMPLAINT")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    random.seed(asked.seed)
    first = Ledger(asked.folder / "ledger.jsonl")
    first.append(opened())  # imports what appending and looking up take, once for all processes
    list(first.find(kind="opened"))
    driver = Driver(asked.folder / "ledger.jsonl")
    started = time.monotonic()
    driver.run(asked.writers, asked.kills // 2)
    driver.run(1, asked.kills - asked.kills // 2)
    print(json.dumps(outcome(driver) | {"seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
