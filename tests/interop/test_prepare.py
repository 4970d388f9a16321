"""The preparing step itself, without any toolchain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from . import prepare
from .prepare import CLIENTS, PIECES, Piece, Program, ToolchainMissing


class Toy(Piece):
    name = "toy"

    def __init__(self, source: Path) -> None:
        self.source = source
        self.installs = 0

    def tools(self) -> Sequence[str]:
        return []

    def install(self) -> None:
        assert not list(self.directory.iterdir())
        (self.directory / "made").touch()
        self.installs += 1

    def program(self) -> Program:
        return Program((str(self.directory / "made"),))


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    source = tmp_path / "source"
    source.mkdir()
    (source / "input").write_text("one")
    toy = Toy(source)
    monkeypatch.setenv("STAN_INTEROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PIECES, "toy", toy)
    return toy


def test_prepares_once_and_again_when_an_input_changes(toy: Toy) -> None:
    assert Path(prepare.prepare("toy").command[0]).exists()
    prepare.prepare("toy")
    assert toy.installs == 1
    (toy.source / "input").write_text("two")
    prepare.prepare("toy")
    assert toy.installs == 2


def test_a_failed_install_is_tried_again(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        (toy.directory / "half").touch()
        raise prepare.PreparationFailed("no network")

    with monkeypatch.context() as patch:
        patch.setattr(toy, "install", fail)
        with pytest.raises(prepare.PreparationFailed):
            prepare.prepare("toy")
    prepare.prepare("toy")
    assert toy.installs == 1


@pytest.mark.parametrize("name", PIECES)
def test_a_missing_toolchain_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PATH", "HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "STAN_INTEROP_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("STAN_INTEROP_PYTHON", raising=False)
    with pytest.raises(ToolchainMissing, match="PATH"):
        prepare.prepare(name)


def test_the_lock_file_names_no_download_address() -> None:
    assert "resolved" not in (CLIENTS / "node" / "package-lock.json").read_text()
