#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents say exists: files, links and headings, verbs and flags, messages, keys of recipes. The README keeps its size."""
import re
import unittest

import tool

PAGES = [tool.source / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")] + sorted((tool.source / "docs").rglob("*.md"))
TEXT = {page: page.read_text() for page in PAGES}
README = TEXT[tool.source / "README.md"]


def blocks(text):
    """The fenced shell blocks, with continued lines joined."""
    return [block.replace("\\\n", " ") for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.S | re.M)]


def anchors(text):
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


class Pages(unittest.TestCase):
    def test_readme_is_one_screen(self):
        lines = README.splitlines()
        self.assertLessEqual(len(lines), 150)
        self.assertEqual([line for line in lines if len(line) > 100], [])

    def test_named_files_exist(self):
        names = {(page, name) for page, text in TEXT.items() for name in re.findall(r"(?<![\w./-])(?:scripts|recipes|configs|lib|tests|cmake|examples|include)/[\w./-]*\w", text)}
        self.assertGreaterEqual(len(names), 40)
        self.assertEqual([f"{page}: {name}" for page, name in sorted(names) if not (tool.source / re.sub(r"/NAME\.\w+$", "", name)).exists()], [])

    def test_links_lead_somewhere(self):
        links = [(page, link) for page, text in TEXT.items() for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        self.assertGreaterEqual(len(links), 40)
        for page, link in links:
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            self.assertTrue(target.exists(), f"{page}: {link}")
            if anchor:
                self.assertIn(anchor, anchors(target.read_text()), f"{page}: {link}")

    def test_index_names_every_page(self):
        for folder in (tool.source / "docs", tool.source / "docs/extending"):
            linked = set(re.findall(r"\]\((\w[\w-]*\.md)(?:#[\w-]+)?\)", TEXT[folder / "README.md"]))
            self.assertEqual(linked, {page.name for page in folder.glob("*.md")} - {"README.md"})

    def test_every_criterion_is_described(self):
        known = re.findall(r"^ESP_CRITERION\((\w+)\)$", (tool.source / "lib/train/prune/criteria.inc").read_text(), re.M)
        self.assertGreaterEqual(len(known), 25)
        rows = [row for row in re.findall(r"^\| `(\w+)` \|(.*)\|$", TEXT[tool.source / "docs/criteria.md"], re.M) if row[0] in known]
        self.assertEqual([name for name, _ in rows], known)
        listed = {line.split()[0]: line.split("[")[1].split("]")[0] for line in tool.run("score", "--list").stdout.splitlines()}
        of_blocks = known[known.index("block_perplexity"):]
        of_layers = known[known.index("block_influence"):-len(of_blocks)]
        for name, row in rows:
            axes = {"layers"} if name in of_layers else {"blocks"} if name in of_blocks else set(re.split(r"(?<!\\)\|", row)[1].strip().split(", "))
            self.assertEqual(axes, set(listed[name].split(", ")), name)
        rows = re.findall(r"^\| `criterion` \| (.*?) \|", TEXT[tool.source / "docs/reference.md"], re.M)
        self.assertEqual([row.split(", ") for row in rows if ", " in row], [known, known])  # of score and prune
        rows = re.findall(r"^\| `layer_criterion` \| (.*?) \|", TEXT[tool.source / "docs/reference.md"], re.M)
        self.assertEqual([row.split(", ") for row in rows], [["random", *of_layers]])

    def test_every_term_is_described(self):
        known = re.findall(r"^ESP_TERM\((\w+)\)$", (tool.source / "lib/train/objective/terms.inc").read_text(), re.M)
        self.assertGreaterEqual(len(known), 4)
        terms = TEXT[tool.source / "docs/concepts.md"].split("### Terms\n")[1].split("\n### ")[0]
        self.assertEqual(re.findall(r"^\| `(\w+)` \|", terms, re.M), known)
        row = re.search(r"^\| `loss` \| (.*?) \|", TEXT[tool.source / "docs/reference.md"], re.M)
        divergences = [name for name in known if "Reads::logits" in (tool.source / f"lib/train/objective/terms/{name}.cpp").read_text()]
        self.assertEqual(row.group(1).split(", "), divergences)

    def test_every_schedule_is_described(self):
        known = re.findall(r"^ESP_SCHEDULE\((\w+)\)$", (tool.source / "lib/train/distill/schedules.inc").read_text(), re.M)
        self.assertGreaterEqual(len(known), 2)
        concepts = TEXT[tool.source / "docs/concepts.md"].split("### Schedule\n")[1].split("\n### ")[0]
        self.assertEqual(re.findall(r"^\| `(\w+)` \|", concepts, re.M), known)
        row = re.search(r"^\| `schedule` \| (.*?) \|", TEXT[tool.source / "docs/reference.md"], re.M)
        self.assertEqual(row.group(1).split(", "), known)

    def test_troubleshooting_quotes_messages(self):
        sources = "".join(path.read_text() for folder in ("lib", "tools") for path in (tool.source / folder).rglob("*.[ch]*"))
        literals = re.sub(r'"\s*\n\s*"', "", sources).replace('\\"', '"')
        quoted = re.findall(r"^### `(.*)`$", TEXT[tool.source / "docs/troubleshooting.md"], re.M)
        self.assertGreaterEqual(len(quoted), 30)
        self.assertEqual([q for q in quoted if q not in literals], [], "no message says this any more")

    def test_verbs_and_flags(self):
        used = {}
        for page, text in TEXT.items():
            for line in (line for block in blocks(text) for line in block.splitlines()):
                words = line.split("#")[0].split()
                if words and re.fullmatch(r"(build/bin/)?espalier(-run)?", words[0]) and not words[1].startswith("-"):
                    used.setdefault((words[0].split("/")[-1], words[1]), {}).update({w.split("=")[0]: page for w in words if w.startswith("--")})
        self.assertGreaterEqual(len(used), 10)
        for (program, verb), flags in sorted(used.items()):
            done = tool.run(verb, "--help", program=str(tool.bin_dir / program))
            self.assertEqual(done.returncode, 0, (program, verb, flags))
            for flag, page in flags.items():
                self.assertRegex(done.stdout, rf"{flag}[ ,\n:\[]", f"{page}: {program} {verb} {flag}")


if __name__ == "__main__":
    tool.main()
