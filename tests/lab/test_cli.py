"""The command line: exit codes, messages with a fix, JSON on stdout, help on everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lab.cli import cli


def run(*words: str, results: Path | None = None) -> Result:
    front = ["--engine", "cpu", *(["--results", str(results)] if results else [])]
    return CliRunner().invoke(cli, [*front, *words])


def commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix}{name} ")
        else:
            found.append((prefix + name, command))
    return found


@pytest.mark.parametrize(("name", "command"), commands(cli), ids=lambda v: str(v))
def test_every_command_has_help_and_json(name: str, command: click.Command) -> None:
    """What has no help is not found; what has no --json is not scripted."""
    assert command.help
    assert "--json" in [option for p in command.params for option in p.opts]
    answer = run(*name.split(), "--help")
    assert answer.exit_code == 0
    assert command.help.split("\n")[0].rstrip(".") in " ".join(answer.output.split())


def test_help_imports_nothing_heavy() -> None:
    """`kernel-lab --help` answers at once; torch alone takes seconds."""
    code = (
        "import sys\nfrom lab.cli import main\nsys.argv = ['kernel-lab', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib', 'rich', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["targts"], 2, "targets"),
        (["open", "rmsnrm"], 2, "Did you mean 'rmsnorm'?"),
        (["open", "rmsnorm", "--preset", "turo"], 2, "Did you mean 'tour'?"),
        (["open", "rmsnorm", "--language", "cobol"], 2, "no starting candidate"),
        (["open", "rmsnorm", "--language", "mlx"], 2, "Add --language torch"),
        (["--engine", "mlx", "open", "rmsnorm", "--language", "torch"], 2, "Add --language mlx"),
        (["open", "rmsnorm", "--candidate", "nowhere.py"], 2, "nowhere.py is missing"),
        (["verify", "nothing"], 2, "no workspace 'nothing'"),
        (["gate", "nothing"], 2, "Run: kernel-lab open TARGET"),
        (["extract", "--profile", "nowhere.json", "--workspace", "w"], 2, "nowhere.json"),
        (["orchestrate"], 2, "Run: kernel-lab profile"),
        (["demote", "rmsnorm"], 2, "no promotion"),
        (["demote", "rmsnrm"], 2, "Did you mean 'rmsnorm'?"),
        (["--engine", "mlxx", "status"], 2, "unknown engine 'mlxx'"),
    ],
)
def test_wrong_commands_name_the_fix(
    tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    """A message that does not say what to do next costs the reader an hour."""
    answer = run(*words, results=tmp_path / "results")
    assert answer.exit_code == code, answer.output
    assert says in answer.output
    assert "Traceback" not in answer.output


def test_targets_as_json() -> None:
    """Agents read JSON."""
    answer = run("targets", "--json")
    names = [t["target"] for t in json.loads(answer.stdout)["targets"]]
    assert {"rmsnorm", "softcap_cross_entropy"} <= set(names)


def test_open_makes_a_workspace_that_explains_itself(tmp_path: Path) -> None:
    """TASK.md is all that an agent gets."""
    folder = tmp_path / "mine"
    answer = run(
        "open", "rmsnorm", "--workspace", str(folder), "--json", results=tmp_path / "results"
    )
    assert answer.exit_code == 0, answer.output
    record = json.loads(answer.stdout)
    assert record["kind"] == "opened"
    task = (folder / "TASK.md").read_text()
    for word in ("rmsnorm(x, eps)", "| train", "kernel-lab verify", "notes.md"):
        assert word in task
    assert "def rmsnorm" in (folder / "candidate.py").read_text()


def test_opening_in_a_folder_with_work_in_it_is_refused(tmp_path: Path) -> None:
    """`init` on the wrong folder must not cost anything."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "candidate.py").write_text("precious")
    answer = run(
        "init", "--target", "rmsnorm", "--workspace", str(folder), results=tmp_path / "results"
    )
    assert answer.exit_code == 2
    assert (folder / "candidate.py").read_text() == "precious"


def test_bench_ab_and_promote_wait_for_their_evidence(tmp_path: Path) -> None:
    """Nothing is timed, tried or promoted that was not found correct first."""
    results = tmp_path / "results"
    run("open", "rmsnorm", results=results)
    for stage in ("bench", "ab"):
        answer = run(stage, "rmsnorm", results=results)
        assert answer.exit_code == 1
        assert "Run: kernel-lab verify" in answer.output
    answer = run("promote", "rmsnorm", results=results)
    assert answer.exit_code == 1
    assert "the gate says hold" in answer.output


def test_status_and_ledger_show_what_was_done(tmp_path: Path) -> None:
    """A second person must be able to take over."""
    results = tmp_path / "results"
    run("open", "relu_squared", results=results)
    answer = run("status", "--json", results=results)
    by_name = {t["target"]: t for t in json.loads(answer.stdout)["targets"]}
    assert by_name["relu_squared"]["workspaces"][0]["stage"] == "verify"
    assert by_name["rmsnorm"]["workspaces"] == []
    assert "opened" in run("ledger", "show", results=results).output
    assert run("ledger", "verify", results=results).exit_code == 0
    exported = run("ledger", "export", str(tmp_path / "l.parquet"), results=results)
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "l.parquet").stat().st_size > 0


def test_a_damaged_ledger_is_the_machines_blame(tmp_path: Path) -> None:
    """Exit code 3, and which line."""
    results = tmp_path / "results"
    run("open", "relu_squared", results=results)
    run("open", "rmsnorm", results=results)
    file = results / "ledger.jsonl"
    file.write_text(file.read_text().replace("relu_squared", "relu_sqvared", 1))
    answer = run("ledger", "verify", results=results)
    assert answer.exit_code == 3


def test_a_candidate_is_written_in_the_engines_framework(tmp_path: Path) -> None:
    """So that `--engine mlx orchestrate`, which has no --language, opens what it can judge."""
    answer = run("--engine", "mlx", "open", "rmsnorm", results=tmp_path / "results")
    assert answer.exit_code == 0, answer.output
    assert "rmsnorm-mlx-mlx-" in answer.output
