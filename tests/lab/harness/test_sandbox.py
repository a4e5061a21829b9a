"""The sandbox: what a program in it can reach, what it may use, and that it ends as a whole.

Runs in every isolation that this machine offers; what only a real confinement can promise is not
asked of `process`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import CommandError, MachineError
from lab.harness import sandbox
from lab.harness.running import Limits, descendants
from lab.harness.sandbox import Sandboxed, kill_tree, launch

AVAILABLE = [kind for kind in sandbox.KINDS if not sandbox._problem(kind)]
CONFINED = [kind for kind in AVAILABLE if kind != "process"]
GENEROUS = Limits(wall_s=60, memory_bytes=2**30)

Run = Callable[..., Sandboxed]


@pytest.fixture(params=AVAILABLE)
def kind(request: pytest.FixtureRequest) -> str:
    """Every isolation that works here."""
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path) -> Run:
    """Starts a Python script in a sandbox."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    running: list[Sandboxed] = []

    def start(script: str, *arguments: str, kind: str, limits: Limits = GENEROUS, **more: object):  # type: ignore[no-untyped-def]
        argv = [sys.executable, "-I", "-S", "-c", textwrap.dedent(script), *arguments]
        process = launch(argv, scratch=scratch, limits=limits, force=kind, **more)  # type: ignore[arg-type]
        running.append(process)
        return process

    yield start  # type: ignore[misc]
    for process in running:
        process.kill()


def test_the_isolation_in_force_is_named_with_its_reason() -> None:
    """Evidence records it, and doctor shows it."""
    found = sandbox.explain()
    assert found.name == sandbox.isolation() == AVAILABLE[0]
    assert found.reason


def test_an_isolation_can_be_forced_and_a_wrong_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typing error must not silently weaken the sandbox."""
    monkeypatch.setenv(sandbox.FORCE, "process")
    assert sandbox.isolation() == "process"
    monkeypatch.setenv(sandbox.FORCE, "proces")
    with pytest.raises(CommandError, match="Did you mean 'process'"):
        sandbox.isolation()
    impossible = next(k for k in ("seatbelt", "namespaces") if k not in AVAILABLE)
    monkeypatch.setenv(sandbox.FORCE, impossible)
    with pytest.raises(MachineError, match=impossible):
        sandbox.isolation()


def test_output_exit_code_and_scratch(start: Run, kind: str, tmp_path: Path) -> None:
    """The plain case: it runs in its folder, writes there, and its output is kept."""
    process = start("print('hello'); open('made', 'w').write('x'); raise SystemExit(7)", kind=kind)
    assert process.wait(timeout=30) == 7
    process.kill()
    assert process.returncode == 7
    assert process.stdout == b"hello\n"
    assert process.why is None
    assert (tmp_path / "scratch" / "made").read_text() == "x"


def test_a_signal_is_told_apart_from_an_exit(start: Run, kind: str) -> None:
    """A crash and an exit are different faults."""
    process = start("import ctypes; ctypes.string_at(0)", kind=kind)
    assert process.wait(timeout=30) == -signal.SIGSEGV


def test_stdin_is_empty_and_the_environment_is_scrubbed(
    start: Run, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens in the judge's environment are not for candidates."""
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    process = start(
        "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read()]))",
        kind=kind,
        env={"EXTRA": "1"},
    )
    assert process.wait(timeout=30) == 0
    process.kill()
    environment, read = json.loads(process.stdout)
    assert read == ""
    assert "secret" not in environment.values()
    assert "PYTHONPATH" not in environment
    assert environment["EXTRA"] == "1"
    assert environment["HOME"].endswith("scratch")


@pytest.mark.parametrize("kind", CONFINED)
def test_nothing_outside_of_scratch_can_be_written(start: Run, kind: str, tmp_path: Path) -> None:
    """A candidate must not be able to change the harness, the incumbent or another candidate."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_text("before")
    process = start(
        """
        import os, sys
        failed = []
        for place in sys.argv[1:]:
            try:
                open(place, "w").write("after")
            except OSError:
                failed.append(place)
        sys.exit(len(failed))
        """,
        *(str(other / "file"), str(other / "new"), sys.executable, "/etc/hostname"),
        kind=kind,
    )
    assert process.wait(timeout=30) == 4
    assert (other / "file").read_text() == "before"
    assert [p.name for p in other.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", CONFINED)
def test_a_writable_folder_can_be_given(start: Run, kind: str, tmp_path: Path) -> None:
    """A training run saves its checkpoint outside of scratch."""
    (tmp_path / "given").mkdir()
    place = tmp_path / "given" / "file"
    process = start(
        "import sys; open(sys.argv[1], 'w').write('x')",
        str(place),
        kind=kind,
        writable=[place.parent],
        readable=[],
    )
    assert process.wait(timeout=30) == 0, process.tail()
    assert place.read_text() == "x"


@pytest.mark.parametrize("kind", CONFINED)
def test_hidden_paths_are_empty_and_the_deepest_path_wins(
    start: Run, kind: str, tmp_path: Path
) -> None:
    """The ledger and other workspaces are none of a candidate's business."""
    results = tmp_path / "results"
    (results / "candidates").mkdir(parents=True)
    (results / "ledger.jsonl").write_text("secret")
    (results / "candidates" / "own").write_text("mine")
    (tmp_path / "alone").write_text("secret")
    process = start(
        """
        import os, sys
        results, alone = sys.argv[1:]
        print(sorted(os.listdir(results)), os.listdir(results + "/candidates"))
        print(open(results + "/candidates/own").read())
        try:
            print(open(alone).read())
        except PermissionError:
            print()
        """,
        *(str(results), str(tmp_path / "alone")),
        kind=kind,
        hide=[results, tmp_path / "alone"],
        readable=[tmp_path, results / "candidates"],
    )
    assert process.wait(timeout=30) == 0, process.tail()
    process.kill()
    assert process.stdout.decode().splitlines() == ["['candidates'] ['own']", "mine", ""]


@pytest.mark.parametrize("kind", CONFINED)
def test_home_and_temporary_folders_are_private(
    start: Run, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and tokens lie in the home folder; other workers' files in /tmp."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519").write_text("secret")
    (home / "notes").write_text("private")
    monkeypatch.setenv("HOME", str(home))
    look = "import os, sys; print([sorted(os.listdir(p)) for p in sys.argv[1:]])"
    strict = start(look, str(home), "/var/tmp", kind=kind, readable=[tmp_path])
    assert strict.wait(timeout=30) == 0, strict.tail()
    loose = start(look, str(home), str(home / ".ssh"), kind=kind)
    assert loose.wait(timeout=30) == 0, loose.tail()
    for process in (strict, loose):
        process.kill()
    assert json.loads(strict.stdout.decode().replace("'", '"')) == [[], []]
    assert json.loads(loose.stdout.decode().replace("'", '"')) == [[".ssh", "notes"], []]


@pytest.mark.parametrize("kind", CONFINED)
def test_there_is_no_network_not_even_this_machine(start: Run, kind: str) -> None:
    """No downloads, no leaks, no talking to a service of the judge."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        process = start(
            """
            import socket, sys
            try:
                socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2)
            except OSError:
                sys.exit(3)
            """,
            str(server.getsockname()[1]),
            kind=kind,
        )
        assert process.wait(timeout=30) == 3


@pytest.mark.parametrize("kind", [k for k in CONFINED if k != "seatbelt"])
def test_other_processes_are_neither_seen_nor_signalled(start: Run, kind: str) -> None:
    """A candidate must not kill its judge, or read its memory or environment."""
    process = start(
        """
        import os, sys
        judge = int(sys.argv[1])
        found = [n for n in os.listdir("/proc") if n.isdigit()]
        try:
            os.kill(judge, 0)
            if judge > 20:
                sys.exit("the judge can be signalled")
        except ProcessLookupError:
            pass
        print(len(found))
        capabilities = open("/proc/self/status").read().split("CapEff:")[1].split()[0]
        sys.exit(int(capabilities, 16) != 0)
        """,
        str(os.getpid()),
        kind=kind,
    )
    assert process.wait(timeout=30) == 0, process.tail()
    process.kill()
    assert int(process.stdout) < 5


LINGER = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.set_inheritable(int(sys.argv[1]), True)
        time.sleep(600)
    os._exit(0)
os.write(int(sys.argv[1]), b"started")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing finds a daemon's orphans")
@pytest.mark.parametrize("after", ["", "time.sleep(600)"], ids=["ended", "killed"])
def test_what_it_left_running_ends_with_it(start: Run, kind: str, after: str) -> None:
    """A lingering child would disturb every timing after it."""
    receive, send = os.pipe()
    process = start(LINGER + after, str(send), kind=kind, pass_fds=[send])
    os.close(send)
    assert os.read(receive, 7) == b"started"
    if after:
        kill_tree(process)
    else:
        process.wait(timeout=30)
    os.set_blocking(receive, True)
    assert os.read(receive, 1) == b"", "someone still holds the pipe"
    os.close(receive)
    assert list(descendants(process.pid)) == []


def test_it_dies_with_its_judge(tmp_path: Path, kind: str) -> None:
    """After Ctrl-C or a kill -9 of the lab nothing may go on computing."""
    receive, send = os.pipe()
    judge = tmp_path / "judge.py"
    judge.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from lab.harness.running import Limits
            from lab.harness.sandbox import launch
            send, scratch, kind = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
            script = "import os, sys, time; os.write(int(sys.argv[1]), b'up'); time.sleep(600)"
            launch([sys.executable, "-I", "-S", "-c", script, str(send)], scratch=scratch,
                   limits=Limits(wall_s=600), pass_fds=[send], force=kind)
            time.sleep(600)
            """
        )
    )
    (tmp_path / "scratch").mkdir()
    root = str(Path(sandbox.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, str(judge), str(send), str(tmp_path / "scratch"), kind],
        pass_fds=[send],
        env={**os.environ, "PYTHONPATH": root},
    )
    os.close(send)
    assert os.read(receive, 2) == b"up"
    process.kill()
    process.wait()
    assert os.read(receive, 1) == b"", "the sandboxed process outlived its judge"
    os.close(receive)


@pytest.mark.parametrize(
    ("script", "limits", "why"),
    [
        ("import time; time.sleep(600)", Limits(wall_s=0.3), "timeout"),
        (
            "import time; x = bytearray(400_000_000); x[::4096] = bytes(len(x[::4096])); "
            "time.sleep(600)",
            Limits(wall_s=60, memory_bytes=200_000_000),
            "memory",
        ),
        ("print('x' * 2_000_000); import time; time.sleep(600)", GENEROUS, "output_flood"),
        ("import sys; sys.stderr.write('x' * 1_000_000)", GENEROUS, "output_flood"),
        (
            "import os, time\nfor _ in range(30):\n    if os.fork() == 0: time.sleep(600)\n"
            "time.sleep(600)",
            Limits(wall_s=60, processes=8),
            "processes",
        ),
    ],
    ids=["time", "memory", "stdout", "stderr", "processes"],
)
def test_limits_end_it_and_say_so(
    start: Run, kind: str, script: str, limits: Limits, why: str
) -> None:
    """Whatever a candidate does, the judge goes on and knows what happened."""
    process = start(script, kind=kind, limits=limits)
    process.wait(timeout=60)
    assert process.why == why
    assert process.returncode == -signal.SIGKILL


def test_a_file_cannot_grow_without_end(start: Run, kind: str) -> None:
    """A full disk would stop every other run on the machine."""
    script = "f = open('big', 'wb')\ntry:\n    f.write(bytes(3_000_000)); f.flush()\n"
    script += "except OSError: raise SystemExit(5)"
    process = start(script, kind=kind, limits=Limits(wall_s=60, file_bytes=1_000_000))
    assert process.wait(timeout=30) == 5


def test_output_may_go_to_files(start: Run, kind: str, tmp_path: Path) -> None:
    """The A/B keeps a training run's output beside its checkpoint."""
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        script = "import sys; print('o'); print('e', file=sys.stderr)"
        process = start(script, kind=kind, stdout=out, stderr=err)
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "out").read_text() == "o\n"
    assert (tmp_path / "err").read_text() == "e\n"


def test_a_frozen_tree_does_nothing_until_it_is_thawed(start: Run, kind: str) -> None:
    """A worker that spins while others are timed would make them look slow."""
    receive, send = os.pipe()
    script = """
    import os, sys, time
    os.fork()
    while True:
        os.write(int(sys.argv[1]), b"x")
        time.sleep(0.001)
    """
    process = start(script, str(send), kind=kind, pass_fds=[send])
    os.close(send)
    os.read(receive, 1)
    time.sleep(0.05)
    process.freeze()
    os.set_blocking(receive, False)
    while _read(receive):
        pass
    time.sleep(0.1)
    assert _read(receive) == b""
    process.thaw()
    os.set_blocking(receive, True)
    assert os.read(receive, 1) == b"x"
    process.kill()
    os.close(receive)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def test_a_program_that_is_not_there_is_the_labs_fault(tmp_path: Path, kind: str) -> None:
    """No candidate can be blamed for a sandbox that did not start."""
    process = launch(["/no/such/program"], scratch=tmp_path, limits=GENEROUS, force=kind)
    with process:
        if kind in ("bubblewrap", "seatbelt"):
            assert process.wait(timeout=30) != 0
        else:
            with pytest.raises(MachineError, match="could not be set up"):
                process.wait(timeout=30)


def test_every_isolation_gets_the_same_view() -> None:
    """Bubblewrap and seatbelt must hide what namespaces hide; here, only what they are told."""
    view = [("hide", "/home/x"), ("read", "/home/x/python"), ("write", "/home/x/s")]
    profile = sandbox.seatbelt_profile(view)
    order = [profile.index(path) for _, path in view]
    assert order == sorted(order), "later rules win, so the deepest must come last"
    assert '(deny file-read-data file-write* (subpath "/home/x"))' in profile
    assert '(allow file-write* (subpath "/home/x/s"))' in profile
    assert "(deny network*)" in profile
    wrapped = " ".join(sandbox._bubblewrap(view, Path("/home/x/s")))
    assert "--unshare-all" in wrapped
    assert "--ro-bind /home/x/python /home/x/python --bind /home/x/s /home/x/s" in wrapped
