"""What the tidy tests look at: the files of this checkout, and which modules they import."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
PACKAGE = "nats_streaming"

_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+cimport\b|cimport\s+([\w.]+))", re.MULTILINE)


@cache
def files() -> tuple[Path, ...]:
    """Files under version control, and those that will be with the next `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in listing.stdout.decode().split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sources(suffix: str = ".py") -> list[Path]:
    """Files of the package with this suffix."""
    return [path for path in files() if path.is_relative_to(SOURCE) and path.suffix == suffix]


def module_name(path: Path) -> str:
    """The dotted name under which a file of the package is imported, `.pxd` files included."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Import(NamedTuple):
    """One import statement's target.

    Attributes:
        path: the importing file.
        line: in it, from 1.
        module: the importing module.
        target: the imported module; of `from a import b` both `a` and `a.b`, if that is a module of ours.
    """

    path: Path
    line: int
    module: str
    target: str

    def __str__(self) -> str:
        return f"{relative(self.path)}:{self.line} imports {self.target}"


@cache
def imports() -> tuple[Import, ...]:
    """Every import of the package's modules, inside functions and in `.pxd` files too."""
    return (*_python_imports(), *_cimports())


def _python_imports() -> Iterator[Import]:
    ours = {module_name(path) for path in sources()}
    for path in sources():
        module = module_name(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            for target in _targets(node, module, path.stem == "__init__", ours):
                yield Import(path, getattr(node, "lineno", 0), module, target)


def _targets(node: ast.AST, module: str, is_package: bool, ours: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            levels = module.split(".")[: None if is_package and node.level == 1 else int(is_package) - node.level]
            base = ".".join([*levels, *([base] if base else [])])
        below = [f"{base}.{alias.name}" for alias in node.names if f"{base}.{alias.name}" in ours]
        # `from package import module` is about the module; only other names make it about the package.
        if len(below) < len(node.names):
            yield base
        yield from below


def _cimports() -> Iterator[Import]:
    for path in sources(".pxd"):
        text = path.read_text(encoding="utf-8")
        for found in _CIMPORT.finditer(text):
            target = found[1] or found[2]
            if target.startswith(PACKAGE):
                yield Import(path, text.count("\n", 0, found.start()) + 1, module_name(path), target)
