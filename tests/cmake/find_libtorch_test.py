#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LibTorch is found in a wheel by its own files: a CPU wheel, a CUDA wheel (without any CUDA toolkit on the machine), and neither."""
import pathlib
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent


def configure(libraries):
    with tempfile.TemporaryDirectory() as folder:
        wheel = pathlib.Path(folder) / "torch"
        header = wheel / "include/torch/csrc/api/include/torch/torch.h"
        header.parent.mkdir(parents=True)
        header.write_text("")
        (wheel / "version.py").write_text("__version__ = '2.13.0+cu130'\n")
        (wheel / "lib").mkdir(parents=True)
        for name in libraries:
            (wheel / "lib" / f"lib{name}.so").write_bytes(b"")
        # what the wheel's own CMake config would do: ask for a CUDA toolkit
        (wheel / "share/cmake/Torch").mkdir(parents=True)
        (wheel / "share/cmake/Torch/TorchConfig.cmake").write_text('message(FATAL_ERROR "needs a CUDA toolkit")\n')
        return subprocess.run(["cmake", "-S", str(HERE / "find_libtorch"), "-B", folder + "/build", f"-DLibTorch_ROOT={wheel}"], capture_output=True, text=True)


class FindLibTorch(unittest.TestCase):
    def test_cpu_wheel(self):
        done = configure(["torch", "torch_cpu", "c10"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("LibTorch 2.13.0 in", done.stdout)
        self.assertIn("CUDA build: OFF", done.stdout)
        self.assertIn("libtorch_cpu.so", done.stdout)

    def test_cuda_wheel(self):
        done = configure(["torch", "torch_cpu", "c10", "torch_cuda", "c10_cuda"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("CUDA build: ON", done.stdout)
        self.assertIn("libtorch_cuda.so", done.stdout)

    def test_broken_wheel_is_named(self):
        done = configure(["torch", "c10"])
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("LibTorch_CPU_LIBRARY", done.stderr)
        self.assertIn("pip install torch==2.13.0", done.stderr)


if __name__ == "__main__":
    unittest.main()
