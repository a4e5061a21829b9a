"""The sandbox: what a program in it can reach, what it may use, and that it ends as a whole.

Runs in every isolation that this machine offers; what only a real confinement can promise is not
asked of `none`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from confined import AVAILABLE, CONFINED, GENEROUS, Run

from lab.errors import CommandError, MachineError
from lab.harness import sandbox, views
from lab.harness.sandbox import launch


@pytest.fixture(params=AVAILABLE)
def kind(request: pytest.FixtureRequest) -> str:
    """Every isolation that works here."""
    return str(request.param)


def test_the_isolation_in_force_is_named_with_its_reason() -> None:
    """Evidence records it, and doctor shows it."""
    found = sandbox.explain()
    assert found.name == sandbox.isolation()
    assert found.kind == AVAILABLE[0]
    assert found.reason


def test_an_isolation_can_be_forced_and_a_wrong_one_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typing error must not silently weaken the sandbox."""
    monkeypatch.setenv(sandbox.FORCE, "none")
    assert sandbox.isolation() == "none"
    monkeypatch.setenv(sandbox.FORCE, "non")
    with pytest.raises(CommandError, match="Did you mean 'none'"):
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


def test_output_may_go_to_files(start: Run, kind: str, tmp_path: Path) -> None:
    """The A/B keeps a training run's output beside its checkpoint."""
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        script = "import sys; print('o'); print('e', file=sys.stderr)"
        process = start(script, kind=kind, stdout=out, stderr=err)
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "out").read_text() == "o\n"
    assert (tmp_path / "err").read_text() == "e\n"


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
    profile = views.seatbelt_profile(view)
    order = [profile.index(path) for _, path in view]
    assert order == sorted(order), "later rules win, so the deepest must come last"
    assert '(deny file-read-data file-write* (subpath "/home/x"))' in profile
    assert '(allow file-write* (subpath "/home/x/s"))' in profile
    assert "(deny network*)" in profile
    wrapped = " ".join(views.bubblewrap(view, Path("/home/x/s")))
    assert "--unshare-all" in wrapped
    assert "--ro-bind /home/x/python /home/x/python --bind /home/x/s /home/x/s" in wrapped
