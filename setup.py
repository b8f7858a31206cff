"""Builds the engine's C++ kernels when a compiler is there; the install works without one."""

import sys

from setuptools import Extension, setup

FLAGS = ["-O3", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
# Apple's compiler has no OpenMP; there the kernels run on one thread.
OPENMP = [] if sys.platform == "darwin" else ["-fopenmp"]

setup(
    ext_modules=[
        Extension(
            "fine_tuning.engine.kernels._kernels",
            sources=["fine_tuning/engine/kernels/kernels.cpp"],
            depends=[
                "fine_tuning/engine/kernels/attention.inc",
                "fine_tuning/engine/kernels/elementwise.inc",
                "fine_tuning/engine/kernels/unpack.inc",
            ],
            extra_compile_args=[*FLAGS, *OPENMP],
            extra_link_args=OPENMP,
            language="c++",
            optional=True,
        )
    ]
)
