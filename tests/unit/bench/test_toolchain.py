"""Building what is compared with, where there is a Go toolchain and where there is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.suite import main, toolchain

MODULE = "example.org/some/program@v1.2.3"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH; the cache is empty."""
    monkeypatch.setattr(toolchain, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def put_go(tools: Path, script: str) -> None:
    (tools / "go").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "go").chmod(0o755)


def test_a_program_is_built_once_per_version(tools: Path) -> None:
    put_go(tools, 'echo "$*" > "$GOBIN/program"')
    built = Path(toolchain.go_binary(MODULE))
    assert built == toolchain.CACHE / "v1.2.3" / "program"
    assert built.read_text() == f"install {MODULE}\n"
    put_go(tools, "exit 1")
    assert toolchain.go_binary(MODULE) == str(built)


def test_without_go_it_is_said_what_cannot_be_built(tools: Path) -> None:
    with pytest.raises(toolchain.GoMissing, match=f"no `go` on PATH to build {MODULE} with"):
        toolchain.go_binary(MODULE)


def test_a_failed_build_is_told_with_what_go_said(tools: Path) -> None:
    put_go(tools, "echo no such module >&2; exit 1")
    with pytest.raises(toolchain.BuildFailed, match=r"exited with 1:\nno such module"):
        toolchain.go_binary(MODULE)


def nothing_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> main.results.Results:
    for measured in ("measure_parts", "measure_ceilings", "measure_curves"):
        monkeypatch.setattr(main.runner, measured, lambda *_: [])
    options = main.parse(["--directory", str(tmp_path / "stores")])
    monkeypatch.setattr(main, "executable", lambda: "ours")
    monkeypatch.setattr(main.machine, "describe", lambda stores, *, with_go: {"Go server": str(with_go)})
    return main.measure(options, "make bench", datetime.now(UTC), lambda found: None)


def test_a_run_without_go_says_so_and_does_not_fail(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = nothing_measured(monkeypatch, tmp_path)
    assert "The Go server was not measured" in found.notes[0]
    assert found.errors() == []
    assert found.machine == {"Go server": "False"}
    assert "skipped: the Go server and its load generator: no `go` on PATH" in capsys.readouterr().out


def test_a_run_that_could_not_build_fails_at_its_end(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put_go(tools, "echo no such module >&2; exit 1")
    found = nothing_measured(monkeypatch, tmp_path)
    assert "no such module" in found.errors()[0]
