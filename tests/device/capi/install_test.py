#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libespalier as its users have it. Installs the runtime and the development files somewhere, builds examples/c against them (find_package, and by hand as
pkg-config says), runs it on a tiny model. What the library exports and needs, and how large espalier-run is.

Usage: install_test.py BUILD_DIR CMAKE CONFIG"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import tool

build, cmake, config = pathlib.Path(sys.argv.pop(1)), sys.argv.pop(1), sys.argv.pop(1)
MAX_PROGRAM_BYTES = 5 << 20
PROMPT = "Once upon"


def run(*words, **more):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, errors="replace", timeout=200, **more)
    if done.returncode != 0:
        raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = pathlib.Path(cls.folder.name)
        cls.prefix = cls.dir / "prefix"
        for component in ("runtime", "development"):
            run(cmake, "--install", build, "--prefix", cls.prefix, "--component", component)
        cls.model = cls.dir / "tiny.gguf"
        run(tool.bin_dir / "tiny_gguf", cls.model)
        cls.library = next(cls.prefix.glob("lib*/**/libespalier.so"))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def check_example(self, program):
        text = run(program, self.model, PROMPT, 12)
        expected = tool.run_json("generate", self.model, "--prompt", PROMPT, "--tokens", 12, program=tool.espalier_run)["text"]
        self.assertEqual(text, expected + "\n")
        done = subprocess.run([str(program), str(self.dir / "absent.gguf"), "x"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("absent.gguf", done.stderr)

    def test_licences_come_along(self):
        for name in ("LICENSE", "NOTICE"):
            self.assertEqual((self.prefix / "share/doc/espalier" / name).read_bytes(), (tool.source / name).read_bytes())

    def test_notice_names_what_is_linked(self):
        notice = (tool.source / "NOTICE").read_text().lower()
        linked = set(re.findall(r"@(\w+)", (tool.source / "lib/DEPENDS").read_text().split("\n\n", 1)[1]))
        self.assertGreaterEqual(len(linked), 9)
        for name in (linked - {"threads"}) | {"gnu c library", "gnu c++ library", "cli11", "chart.js"}:
            self.assertIn(name, notice)

    def test_find_package(self):
        out = self.dir / "example"
        run(cmake, "-S", tool.source / "examples/c", "-B", out, f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Release")
        run(cmake, "--build", out)
        self.check_example(out / "example")
        wrong = subprocess.run([cmake, "-S", str(tool.source / "examples/c"), "-B", str(self.dir / "none"), f"-DCMAKE_PREFIX_PATH={self.dir}/nowhere"], capture_output=True)
        self.assertNotEqual(wrong.returncode, 0)

    def test_plain_c99(self):
        pc_dir = self.library.parent / "pkgconfig"
        flags = (pc_dir / "espalier.pc").read_text()
        prefix = re.search(r"^prefix=\$\{pcfiledir\}/(.*)$", flags, re.M)[1]
        self.assertTrue((pc_dir / prefix).samefile(self.prefix), prefix)
        value = lambda key: re.search(rf"^{key}: (.*)$", flags, re.M)[1].replace("${prefix}", str(self.prefix)).split()
        program = self.dir / "plain"
        run("gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", *value("Cflags"), tool.source / "examples/c/example.c", *value("Libs"),
            f"-Wl,-rpath,{self.library.parent}", "-o", program)
        self.check_example(program)

    def test_what_the_library_shows_and_needs(self):
        declared = set(re.findall(r"\b(espalier_\w+)\(", (self.prefix / "include/espalier/espalier.h").read_text()))
        declared = {name for name in declared if not name.endswith("_")}
        names = [line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", self.library).splitlines()]
        exported = {name for name in names if name != "ESPALIER_0"}
        self.assertEqual(exported, declared)
        self.assertGreaterEqual(len(exported), 14)
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "-d", self.library))
        self.assertTrue(needed)
        for name in needed:
            self.assertRegex(name, r"^(libc|libm|libpthread|libdl|ld-linux[a-z0-9-]*)\.so")
        self.assertIn("libespalier.so.0.1", run("readelf", "-d", self.library))

    def test_size_of_the_program(self):
        program = self.dir / "espalier-run"
        shutil.copy(self.prefix / "bin/espalier-run", program)
        run("strip", program)
        size = program.stat().st_size
        print(f"espalier-run {size} bytes, libespalier {self.library.resolve().stat().st_size}")
        if config == "Release":
            self.assertLessEqual(size, MAX_PROGRAM_BYTES)
        self.assertGreater(size, 500_000)


if __name__ == "__main__":
    tool.main()
