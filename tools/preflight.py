"""Whether this machine can build the server: names what is missing, a line each. Runs on old Pythons too."""

import os
import shutil
import sys

PYTHON_MIN = (3, 11)


def missing():
    """What is missing, one line each."""
    if sys.version_info < PYTHON_MIN:
        # Nothing else can be looked at: on so old a Python the rest need not even import.
        found = ".".join(map(str, sys.version_info[:3]))
        return ["Python >= 3.11, this is %s (name another one: make PYTHON=python3.12 ...)" % found]  # noqa: UP031
    import importlib.util
    import sysconfig

    lines = []
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        lines.append("the venv module of this Python (Debian: apt-get install python3-venv)")
    if sys.platform == "win32" or os.environ.get("NATS_STREAMING_BUILD") == "plain":
        return lines
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        lines.append("a C compiler: no %s (Debian: apt-get install gcc; macOS: xcode-select --install)" % compiler)  # noqa: UP031
    if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")):
        lines.append("the C headers of this Python (Debian: apt-get install python3-dev)")
    return lines


if __name__ == "__main__":
    found = missing()
    for line in found:
        sys.stderr.write("missing: " + line + "\n")
    sys.exit(1 if found else 0)
