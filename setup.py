"""The compiled modules: plain Python files, each with a .pxd beside it that holds its C types.

`NATS_STREAMING_BUILD=plain` installs without compiling (slow; for development). A failed compile
fails the installation.
"""

import os
import sys

from setuptools import Extension, setup

COMPILED = [
    "byte_buffer",
    "protocol.protobuf",
    "protocol.nats_reader",
    "protocol.client_frames",
    "protocol.client_messages",
    "protocol.frame_router",
    "protocol.server_frames",
    "protocol.stan_messages",
    "stores.segment",
    "stores.file.record",
    "stores.file.run_writer",
    "stores.file.index",
    "streaming.in_flight",
    "streaming.message_window",
    "streaming.subscription",
    "streaming.channel",
    "streaming.cycle",
    "streaming.delivery",
    "streaming.inlet",
    "streaming.context",
    "streaming.engine",
]

# Python's own flags ask for debugging symbols: twice the time to compile, three times the size.
ARGUMENTS = [] if sys.platform == "win32" else ["-g0"]


def extensions() -> list[Extension]:
    if os.environ.get("NATS_STREAMING_BUILD") == "plain":
        return []
    from Cython.Build import cythonize
    from Cython.Compiler import Options

    # A negative index, say, is only a warning to Cython and reads foreign memory with the directives below.
    Options.warning_errors = True
    modules = [
        Extension(
            f"nats_streaming.{name}", [f"src/nats_streaming/{name.replace('.', '/')}.py"], extra_compile_args=ARGUMENTS
        )
        for name in COMPILED
    ]
    return cythonize(
        modules,
        build_dir="build/cython",
        include_path=["src"],
        compiler_directives={
            "language_level": 3,
            "annotation_typing": False,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": False,
        },
    )


# Nothing built may lie in src/, not even setuptools' notes about the package.
os.makedirs("build", exist_ok=True)

setup(
    ext_modules=extensions(),
    options={"egg_info": {"egg_base": "build"}, "build_ext": {"parallel": os.cpu_count()}},
)
