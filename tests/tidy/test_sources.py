"""The shape of the source files: documented, of a size to read at one sitting, compiled as setup.py says."""

from __future__ import annotations

import ast
import sys
import sysconfig
from pathlib import Path

import pytest

import nats_streaming
from nats_streaming.server.version import build_kind

from .checkout import ROOT, SOURCE, files, imports, module_name, relative, sources

LINES_MAX = 500

LONG_FILES: dict[str, str] = {
    "src/nats_streaming/testing/engine_driver.py": "drives one engine: what it is told and what it saw",
    "src/nats_streaming/testing/store_suite.py": "the contract of a store, which its authors read and run as one thing",
    "tests/support/raw_client.py": "one client on a raw socket; every conversation test reads it as one thing",
    "tests/unit/stores/file/test_message_log.py": "one subject: a channel's slices, from append to removal",
    "tests/unit/stores/file/test_recovery.py": "the table of damages and what becomes of each, row by row",
    "tests/unit/streaming/test_message_window.py": "one subject: the window and the model it is compared with",
    "tests/unit/nats/test_connection.py": "one subject: the link, from its handshake to its reconnects",
}
"""Files that may be longer, with the reason."""


def compiled_list() -> list[str]:
    """The names in setup.py's list, read without running it."""
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["COMPILED"]:
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    raise AssertionError("setup.py has no list COMPILED")


def test_compiled_modules_are_those_with_a_pxd() -> None:
    with_pxd = {module_name(path) for path in sources(".pxd")}
    assert {f"nats_streaming.{name}" for name in compiled_list()} == with_pxd
    assert with_pxd <= {module_name(path) for path in sources()}


def test_no_python_file_knows_cython() -> None:
    in_python = [item for item in imports() if item.path.suffix == ".py"]
    assert not [str(item) for item in in_python if item.target.split(".")[0].lower() == "cython"]


def test_nothing_built_lies_in_the_sources() -> None:
    """A stale extension beside its source would be imported instead of it."""
    built = [path for pattern in ("*.so", "*.pyd", "*.c", "*.egg-info") for path in SOURCE.rglob(pattern)]
    assert not [relative(path) for path in built]


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_files_are_of_a_size_to_read() -> None:
    lengths = {relative(path): path.read_bytes().count(b"\n") for path in files() if path.suffix in (".py", ".pxd")}
    too_long = {name: length for name, length in lengths.items() if length > LINES_MAX}
    assert not too_long.keys() - LONG_FILES.keys(), "split these, or list them with a reason"
    assert not LONG_FILES.keys() - too_long.keys(), "these need no exception any more"


@pytest.mark.skipif(build_kind() == "plain", reason="the plain build has no compiled modules")
def test_the_installed_build_is_the_listed_one() -> None:
    """A module that is no longer compiled, or no longer there, may linger in build/: then `make clean` helps."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    installed = Path(nats_streaming.__file__).parent
    found = {
        ".".join(path.relative_to(installed).parts).removesuffix(suffix)
        for path in installed.rglob(f"*{'.pyd' if sys.platform == 'win32' else '.so'}")
    }
    assert found == set(compiled_list())
