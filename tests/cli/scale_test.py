#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/scale.md: its tables of the field's recipes say what `espalier plan` predicts and what the page's formula gives.

ESPALIER_UPDATE=1 in the environment writes them anew."""
import os
import re
import unittest

import tool

PAGE = tool.source / "docs/scale.md"
RECIPES = sorted((tool.source / "recipes/field").glob("*.yaml"))
# The quickstart: parameters of teacher and student, and measured tokens per second.
TEACHER, STUDENT, ZEN_3, ZEN_4 = 134_515_008, 96_360_768, 106, 284
YEAR = 365 * 24 * 3600
UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}


def work(teacher, student):
    """Floating-point operations of one training token."""
    return 2 * teacher + 6 * student


def number(n):
    for bound, unit in ((1e9, "G"), (1e6, "M")):
        if n >= bound:
            return f"{n / bound:.2f}{unit}"
    return str(n)


def tables():
    memory = ["| recipe | teacher | student | prune | distil | distil, disk | quantize | file | card |",
              "|---|---|---|---|---|---|---|---|---|"]
    time = ["| recipe | training tokens | GFLOP a token | tokens/s | days for 1M tokens | years for all |",
            "|---|---|---|---|---|---|"]
    speed = ZEN_4 * work(TEACHER, STUDENT)
    for recipe in RECIPES:
        text = recipe.read_text()
        stages = {s["kind"]: s for s in tool.run_json("plan", recipe, "--no-time")["stages"]}
        shape = re.search(r"^teacher_shape: (\S+)", text, re.M)[1]
        teacher = tool.run_json("inspect", tool.source / shape)["parameters"]
        student = stages["distill"]["parameters"]
        gb = lambda kind, key="peak_memory_bytes": f"{stages[kind][key] / 1e9:.1f}"
        memory.append(f"| `{recipe.stem}` | {number(teacher)} | {number(student)} | {gb('prune')} | {gb('distill')} | "
                      f"{gb('distill', 'disk_bytes')} | {gb('quantize')} | {gb('quantize', 'bytes')} | {gb('verify')} |")
        count, unit = re.search(r"kind: distill.*tokens: (\d+)([kMG])", text).groups()
        tokens, rate = int(count) * UNITS[unit], speed / work(teacher, student)
        time.append(f"| `{recipe.stem}` | {count}{unit} | {work(teacher, student) / 1e9:.1f} | {rate:.1f} | "
                    f"{1e6 / rate / 86400:.1f} | {tokens / rate / YEAR:.0f} |")
    return {"memory": memory, "time": time}


class Scale(unittest.TestCase):
    def test_tables(self):
        self.assertGreaterEqual(len(RECIPES), 10)
        page = old = PAGE.read_text()
        for name, lines in tables().items():
            begin, end = f"<!-- {name}: written by tests/cli/scale_test.py -->\n", f"<!-- end of {name} -->"
            self.assertEqual((page.count(begin), page.count(end)), (1, 1), name)
            head, rest = page.split(begin)
            page = head + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1]
        if os.environ.get("ESPALIER_UPDATE") == "1":
            PAGE.write_text(page)
        else:
            self.assertEqual(old, page, "run this test with ESPALIER_UPDATE=1 and read what it changes")

    def test_the_rates_of_the_text(self):
        page = PAGE.read_text()
        self.assertIn(f"{work(TEACHER, STUDENT) / 1e6:.0f} MFLOP", page)
        for rate in (ZEN_3, ZEN_4):
            self.assertIn(f"| {rate} tokens/s | {rate * work(TEACHER, STUDENT) / 1e9:.0f} GFLOP/s |", page)


if __name__ == "__main__":
    tool.main()
