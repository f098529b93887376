#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The way to other engines: scripts/engines reads our cache of teacher logits and trains with the Hugging Face Trainer what `espalier distill`
trains. Runs in .venv, which has torch and transformers. They are imported once, and ranks are forked from this process."""
import hashlib
import json
import math
import os
import pathlib
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

import numpy as np

import tool
import tiny_teacher

ENGINES = tool.source / "scripts/engines"
sys.path.insert(0, str(ENGINES))
import distill_hf  # noqa: E402
import logit_cache  # noqa: E402
import options  # noqa: E402
import windows  # noqa: E402
import work_folder  # noqa: E402

SEQUENCE, TOP_K, BOS = 64, 24, tiny_teacher.VOCAB - 1


def in_child(action, log):
    """Starts `action` in a forked process with its output in the file `log`; its result is the exit code. This process must not compute with
    torch itself, because threads do not survive a fork."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(file), "w", buffering=1) for _ in range(2))
        code = action()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def exit_codes(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


class Inputs:
    """Made once: a teacher that adds BOS, a text that spells it out as the token, students and a cache. 1,282 tokens make 20 windows and an offset."""

    TRAIN = ("tokens: 2k\nbatch: 4\nsequence: 64\nlearning_rate: 1e-3\nweight_decay: 0.1\nwarmup_ratio: 0.2\nprecision: float32\ncheckpoint_every: 4\nclip_norm: 2.5\n")  # clips some steps

    def __init__(self, path):
        self.path, self.text = path, path / "train.txt"
        tiny_teacher.write_teacher(path / "teacher.gguf", bos=True)
        tiny_teacher.write_text(self.text, 260)
        self.text.write_text(self.text.read_text() + f"Spelled out, <filler {BOS - 256}> is text.\n")
        tool.run_json("import", path / "teacher.gguf", "--out", path / "teacher")
        self.cache = path / "cache"
        tool.run_json("cache", "--teacher", path / "teacher.gguf", "--text", self.text, "--out", self.cache, "--sequence", SEQUENCE, "--top-k", TOP_K, "--file-tokens", 512)
        self.student = self.prune("teacher.gguf", "student", [range(256), range(100, 356), range(0, 512, 2)])
        self.config = path / "train.yaml"
        self.config.write_text(self.TRAIN)
        tiny_teacher.write_teacher(path / "plain.gguf")
        tool.run_json("import", path / "plain.gguf", "--out", path / "plain")
        self.unequal = self.prune("plain.gguf", "unequal", [range(32, 96), range(256), range(0, 512, 16)])
        self.running = None

    def prune(self, teacher, name, ffn):
        """A student of the layers 0, 1 and 3, which keep these rows of their FFN."""
        plan = self.path / f"{name}.json"
        layers = [{"ffn": list(rows), "kv_groups": "all", "q_per_kv": "all"} for rows in ffn]
        plan.write_text(json.dumps({"keep_layers": [0, 1, 3], "layers": layers, "hidden": "all", "vocab": "all"}))
        tool.run_json("prune", self.path / teacher, "--out", self.path / name, "--plan", plan)
        return self.path / name

    def begin_all(self):
        """Starts the runs of espalier that tests compare with. They follow one another, beside what this process does."""
        cache = lambda name, *words: ("cache", "--teacher", self.path / "teacher.gguf", "--text", self.text, "--out", self.path / name, "--top-k", 1, *words)
        runs = {"half": cache("half", "--sequence", SEQUENCE, "--tokens", 640), **{name: ("distill", *words) for name, words in Training.ours().items()},
                **{name: cache(name, "--sequence", sequence, "--seed", seed) for name, sequence, seed in Windows.SHAPES}}
        line = lambda name, words: f"{shlex.join(map(str, (tool.espalier, *words)))} >{name}.espalier 2>&1; echo $? >{name}.tmp; mv {name}.tmp {name}.code"
        script = f"cd {shlex.quote(str(self.path))}\n" + "\n".join(line(name, words) for name, words in runs.items())
        self.running = subprocess.Popen(["bash", "-c", script])

    def finished(self, name):
        code = self.path / f"{name}.code"
        while not code.exists() and self.running.poll() is None:
            time.sleep(0.01)
        assert code.exists() and code.read_text() == "0\n", (self.path / f"{name}.espalier").read_text()
        return self.path / name


def setUpModule():
    global inputs, folder
    folder = tempfile.TemporaryDirectory()
    inputs = Inputs(pathlib.Path(folder.name))
    inputs.begin_all()
    import accelerate.utils.other  # noqa: F401
    import step_trainer  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, TrainingArguments  # noqa: F401


def tearDownModule():
    inputs.running.wait()
    folder.cleanup()


class Reader(unittest.TestCase):
    FILE = "logits-00001.bin"

    def cache_copy(self, name):
        out = inputs.path / name
        shutil.copytree(inputs.cache, out)
        return out

    def test_windows_are_what_the_teacher_says(self):
        """Of transformers, in float32. The cache stores F16: 2^-11 of a logarithm of at most 16."""
        cache = logit_cache.LogitCache(inputs.cache)
        self.assertEqual((cache.header.vocab, cache.header.sequence, cache.header.k, cache.bos, len(cache)), (512, SEQUENCE, TOP_K, BOS, 20))

        def judge():
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            tokenizer = AutoTokenizer.from_pretrained(inputs.path / "teacher")
            tokens = tokenizer(inputs.text.read_text(), add_special_tokens=False, split_special_tokens=False)["input_ids"]
            assert hashlib.sha256(np.asarray(tokens, "<i4").data).hexdigest() == cache.token_ids
            model = AutoModelForCausalLM.from_pretrained(inputs.path / "teacher", dtype=torch.float32).eval()
            assert len(cache.starts) == 20
            for start in cache.starts:
                window = cache.window(start)
                ids = torch.tensor([[cache.bos, *tokens[start + 1:start + SEQUENCE]]])
                with torch.no_grad():
                    wanted = torch.log_softmax(model(ids).logits[0], -1).numpy()
                kept = np.take_along_axis(wanted, window.ids.astype(np.int64), 1)
                assert np.abs(kept - window.log_probabilities).max() < 16 * 2**-11, np.abs(kept - window.log_probabilities).max()
                assert np.abs(window.rest - (1 - np.exp(kept.astype(np.float64)).sum(1))).max() < 2**-10
                assert (np.sort(wanted, 1)[:, -TOP_K] <= kept.min(1) + 1e-4).all()  # no likelier token was left out
                assert np.abs(np.exp(window.log_probabilities.astype(np.float64)).sum(1) + window.rest - 1).max() < 1e-6
            return 0

        log = inputs.path / "judge.log"
        self.assertEqual(exit_codes([in_child(judge, log)]), [0], log.read_text())

    def refused(self, directory, *parts):
        with self.assertRaises(logit_cache.CacheError) as raised:
            logit_cache.LogitCache(directory).check()
        for part in parts:
            self.assertIn(part, str(raised.exception))

    def test_a_damaged_byte_is_refused_with_its_place(self):
        windows, each = 8, SEQUENCE * (4 * TOP_K + 4) + 64  # of the file
        first = 112 + 8 * windows + 64
        damage = [(0, "offset 0"), (8, "offset 8: version"), (15, "offset 12"), (19, "offset 16"), (23, "offset 20"), (24, "offset 24"), (40, "offset 40"), (50, f"offset {first - 64}"),
                  (120, f"offset {first - 64}"), (first - 1, f"offset {first - 64}"), (first, f"window 0 at offset {first}"), (first + each - 1, f"window 0 at offset {first}"),
                  (first + 3 * each + 2000, f"window 3 at offset {first + 3 * each}")]
        directory = self.cache_copy("damaged")
        whole = (directory / self.FILE).read_bytes()
        for at, place in damage:
            with self.subTest(at=at):
                (directory / self.FILE).write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1:])
                self.refused(directory, self.FILE, place)
        (directory / self.FILE).write_bytes(whole[:-1])
        self.refused(directory, self.FILE, "truncated")
        (directory / self.FILE).write_bytes(b"")
        self.refused(directory, self.FILE, "cannot be read")
        self.assertEqual(len(damage), 13)

    def test_values_are_checked_behind_a_right_hash(self):
        first = 112 + 8 * 8 + 64
        values, rest = first + 2 * SEQUENCE * TOP_K, first + 4 * SEQUENCE * TOP_K
        forged = [(first + 2 * TOP_K, struct.pack("<H", 600), "token 1: id 600 is outside the vocabulary of 512"),
                  (first + 2 * (3 * TOP_K + 5), struct.pack("<H", 0), "token 3: an id is not above the previous one"),
                  (values + 2 * 7, struct.pack("<e", 1.0), "token 0: 1.0 is not a log-probability"),
                  (values + 2 * 7, struct.pack("<e", math.nan), "token 0: nan is not a log-probability"),
                  (rest + 4 * 9, struct.pack("<f", -0.5), "token 9: -0.5 is not the mass of the 488 other tokens"),
                  (rest + 4 * 9, struct.pack("<f", 1.0), "token 9: probabilities sum to 1.")]
        directory = self.cache_copy("forged")
        whole = bytearray((directory / self.FILE).read_bytes())
        for at, value, message in forged:
            with self.subTest(message=message):
                data = whole.copy()
                data[at:at + len(value)] = value
                end = rest + 4 * SEQUENCE
                data[end:end + 64] = hashlib.sha256(data[first:end]).hexdigest().encode()
                (directory / self.FILE).write_bytes(data)
                self.refused(directory, self.FILE, f"window 0 at offset {first}", message)
        self.assertEqual(len(forged), 6)

    def test_what_is_not_a_finished_cache_is_refused(self):
        directory = self.cache_copy("unfinished")
        manifest = json.loads((directory / "manifest.json").read_text())
        for change, message in [({"stage": "distill"}, "expected 'cache'"), ({"format": "espalier-manifest-2"}, "espalier-manifest-1"), ({"inputs": {}}, "inputs.teacher"),
                                ({"outputs": {}}, "names no file"), ({"outputs": {"logits-00000.bin": "", "logits-00002.bin": ""}}, "no logits-00001.bin"),
                                ({"outputs": {**manifest["outputs"], "logits-00001.bin": "0" * 64}}, "but the manifest has 000")]:
            (directory / "manifest.json").write_text(json.dumps({**manifest, **change}))
            self.refused(directory, message)
        (directory / "manifest.json").unlink()
        self.refused(directory, "not a finished cache")
        self.refused(inputs.path / "nowhere", "not a finished cache")

    def test_as_a_program(self):
        done = tool.run(ENGINES / "logit_cache.py", inputs.cache, "--check", program=sys.executable)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["windows"], 20)
        done = tool.run(ENGINES / "logit_cache.py", inputs.path, program=sys.executable)
        self.assertEqual((done.returncode, done.stdout), (3, ""))


def metrics_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def weights_of(directory):
    from safetensors.numpy import load_file
    return load_file(directory / "model.safetensors")


def distance(a, b):
    """||a - b|| / ||b|| over all tensors."""
    assert a.keys() == b.keys()
    square = lambda x: sum(float((t.astype(np.float64)**2).sum()) for t in x)
    return math.sqrt(square(a[name] - b[name] for name in a) / square(b.values()))


class Training(unittest.TestCase):
    # Float32 sums in another order. Both move by 3e-7 of the loss, and a fault in one window, weight or step moves it by far more.
    TOLERANCE = 1e-5

    LIVE = [("forward_kl", 2, "temperature: 2\nschedule: wsd\n", 0), ("reverse_kl", 1, "temperature: 2\nschedule: linear\ntrain_embeddings: false\n", 0),
            ("jsd", 2, "accumulation: 2\nschedule: constant\n", 7)]

    @classmethod
    def setUpClass(cls):
        cls.path = inputs.path
        cls.expected = {name: metrics_of(inputs.finished(name)) for name in cls.ours()}

    @classmethod
    def ours(cls):
        """The runs of `espalier distill` that those of distill_hf are compared with, by name."""
        runs = {"ours": ("--cached", inputs.cache), "other": ("--cached", inputs.cache, "--seed", 1), "unequal-ours": ("--student", inputs.unequal, "--teacher", inputs.path / "plain")}
        for loss, _, more, seed in cls.LIVE:
            config = inputs.path / f"{loss}.yaml"
            config.write_text(inputs.TRAIN.replace("batch: 4", "batch: 2" if "accumulation" in more else "batch: 4") + more + f"loss: {loss}\n")
            runs[f"{loss}-ours"] = ("--teacher", inputs.path / "teacher", "--config", config, "--seed", seed)
        return {name: cls.words(name, *words) for name, words in runs.items()}

    @classmethod
    def words(cls, name, *more):
        """The command line of a run into `name`; what is given goes before what all runs have."""
        common = {"--student": inputs.student, "--text": inputs.text, "--config": inputs.config, "--out": inputs.path / name}
        return [str(word) for flag, value in common.items() if flag not in more for word in (flag, value)] + [str(word) for word in more]

    @classmethod
    def start(cls, ranks, name, *more):
        """Starts ranks of distill_hf as torchrun would."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def rank(number):
            if ranks > 1:
                os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            import torch
            torch.set_num_threads(1)
            return distill_hf.main(cls.words(name, *more))

        return [in_child(lambda: rank(number), cls.path / f"{name}.log") for number in range(ranks)]

    def trained(self, ranks, name, *more):
        """With distill_hf: the metrics."""
        codes = exit_codes(self.start(ranks, name, *more))
        self.assertEqual(codes, [0] * ranks, (self.path / f"{name}.log").read_text())
        self.assertFalse((self.path / f"{name}.work").exists())
        return metrics_of(self.path / name)

    def farthest(self, metrics, expected):
        """The largest relative difference of any step's numbers."""
        self.assertEqual([(m["step"], m["tokens"]) for m in metrics], [(m["step"], m["tokens"]) for m in expected])
        return max(abs(m[key] - e[key]) / e[key] for m, e in zip(metrics, expected) for key in ("loss", "kl", "ce", "learning_rate"))

    def assert_same(self, metrics, expected, name, of):
        self.assertEqual(len(metrics), 8)
        self.assertLess(self.farthest(metrics, expected), self.TOLERANCE)
        self.assertLess(distance(weights_of(self.path / name), weights_of(self.path / of)), self.TOLERANCE)

    def test_from_the_cache(self):
        """One rank, two, and torchrun train what `espalier distill` trains; the text is read 1.6 times."""
        done = tool.run("--nproc-per-node", 2, ENGINES / "distill_hf.py", *self.words("torchrun", "--cached", inputs.cache, "--json"), program=pathlib.Path(sys.executable).with_name("torchrun"))
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual((result["steps"], result["tokens"], result["output"]), (8, 2048, str(self.path / "torchrun")))
        two = metrics_of(self.path / "torchrun")
        self.assertEqual((result["loss_first"], result["loss_last"]), (two[0]["loss"], two[-1]["loss"]))
        one = self.trained(1, "one", "--cached", inputs.cache, "--tokens-at-once", 64, "--vocab-chunk", 50)
        self.assert_same(two, self.expected["ours"], "torchrun", "ours")
        self.assert_same(one, self.expected["ours"], "one", "ours")
        self.assert_same(one, two, "one", "torchrun")
        # negative control: the same windows in another order
        self.assertGreater(self.farthest(self.expected["other"], self.expected["ours"]), 100 * self.TOLERANCE)
        self.assertGreater(distance(weights_of(self.path / "other"), weights_of(self.path / "ours")), 100 * self.TOLERANCE)
        self.check_written(self.path / "torchrun")

    def check_written(self, out):
        """What `espalier distill` writes, so that every verb reads it."""
        self.assertEqual(sorted(p.name for p in out.iterdir()), sorted(p.name for p in (self.path / "ours").iterdir()))
        for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            self.assertEqual((out / file).read_bytes(), (inputs.student / file).read_bytes())
        self.assertEqual(json.loads((out / "config.json").read_text()), json.loads((self.path / "ours/config.json").read_text()))
        self.assertEqual({t.dtype for t in weights_of(out).values()}, {np.dtype(np.float32)})
        manifest = json.loads((out / "manifest.json").read_text())
        self.assertEqual(manifest["outputs"], {"model.safetensors": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()})
        self.assertEqual(tool.run("quantize", out, "--out", self.path / "written.gguf", "--format", "q8_0").returncode, 0)

    def test_from_a_live_teacher(self):
        for loss, ranks, _, seed in self.LIVE:
            with self.subTest(loss=loss):
                metrics = self.trained(ranks, loss, "--teacher", self.path / "teacher", "--config", self.path / f"{loss}.yaml", "--seed", seed)
                self.assert_same(metrics, self.expected[f"{loss}-ours"], loss, f"{loss}-ours")
        self.assertTrue((weights_of(self.path / "reverse_kl")["model.embed_tokens.weight"] == weights_of(inputs.student)["model.embed_tokens.weight"]).all())

    def test_layers_of_unequal_size(self):
        """A family of our modeling file, which transformers loads with trust_remote_code; without BOS."""
        metrics = self.trained(2, "unequal-trained", "--student", inputs.unequal, "--teacher", self.path / "plain")
        self.assert_same(metrics, self.expected["unequal-ours"], "unequal-trained", "unequal-ours")
        self.assertEqual((self.path / "unequal-trained/modeling_espalier.py").read_bytes(), (inputs.unequal / "modeling_espalier.py").read_bytes())
        self.assertEqual(tool.run("quantize", self.path / "unequal-trained", "--out", self.path / "unequal.gguf", "--format", "q8_0").returncode, 0)
        foreign = self.path / "foreign"
        shutil.copytree(inputs.unequal, foreign)
        with open(foreign / "modeling_espalier.py", "a") as file:
            file.write("# changed\n")
        with self.assertRaises(options.Fault) as raised:
            import model_files
            model_files.runs_code(foreign, False)
        self.assertIn("--trust-remote-code", str(raised.exception))

    def test_kill_9_and_resume(self):
        """The same bytes as an uninterrupted run of as many ranks; close to it with another number of ranks."""
        words = ("--cached", inputs.cache, "--tokens", 16 * 256)
        self.trained(2, "whole", *words)
        ranks, work = self.start(2, "killed", *words), self.path / "killed.work"
        deadline = time.monotonic() + 60
        while not (work / "metrics.jsonl").exists() or len((work / "metrics.jsonl").read_text().splitlines()) < 9:
            self.assertLess(time.monotonic(), deadline, "no step came")
            time.sleep(0.005)
        for rank in ranks:
            os.kill(rank, signal.SIGKILL)
        self.assertEqual(exit_codes(ranks), [-signal.SIGKILL] * 2)
        self.assertFalse((self.path / "killed").exists())
        self.assertGreaterEqual(json.loads((work / "complete.json").read_text())["step"], 8)
        (work / "checkpoint-900").mkdir()  # what a kill in the middle of a checkpoint leaves
        shutil.copytree(work, self.path / "killed-one.work")
        one = work_folder.WorkFolder(self.path / "killed-one")
        step = one.start(json.loads((work / "run.json").read_text()), True)
        self.assertEqual([p.name for p in one.path.glob("checkpoint-*")], [f"checkpoint-{step}"])
        self.trained(2, "killed", *words, "--resume")
        self.assertEqual(self.bytes_of("killed"), self.bytes_of("whole"))
        losses = lambda name: [(m["step"], m["loss"]) for m in metrics_of(self.path / name)]
        self.assertEqual(losses("killed"), losses("whole"))
        self.trained(1, "killed-one", *words, "--resume")
        self.assertLess(distance(weights_of(self.path / "killed-one"), weights_of(self.path / "whole")), self.TOLERANCE)
        # a finished run is left alone; another one is refused
        before = (self.path / "killed/model.safetensors").stat().st_mtime_ns
        self.assertEqual(exit_codes(self.start(1, "killed", *words, "--resume")), [0])
        self.assertEqual((self.path / "killed/model.safetensors").stat().st_mtime_ns, before)
        self.assertEqual(exit_codes(self.start(1, "killed", *words[:2], "--tokens", 512, "--resume")), [3])
        self.assertIn("tokens: 4096, now 512", (self.path / "killed.log").read_text())

    def bytes_of(self, name):
        return hashlib.sha256((self.path / name / "model.safetensors").read_bytes()).hexdigest()

    def test_a_damaged_window_ends_the_run(self):
        cache = self.path / "damaged-cache"
        shutil.copytree(inputs.cache, cache)
        data = bytearray((cache / "logits-00000.bin").read_bytes())
        data[-300] ^= 1  # in the last window of the file, which the second step reads
        (cache / "logits-00000.bin").write_bytes(data)
        self.assertEqual(exit_codes(self.start(1, "damaged-out", "--cached", cache)), [3])
        self.assertIn("logits-00000.bin: window 7 at offset", (self.path / "damaged-out.log").read_text())
        self.assertFalse((self.path / "damaged-out").exists())


class Windows(unittest.TestCase):
    SHAPES = [("cache-48", 48, 3), ("cache-500", 500, 2**64 - 1), ("cache-17", 17, 123456789)]  # 26, 2 and 75 windows

    def test_order_is_that_of_espalier(self):
        """Of whole epochs of several shapes; the trainings above read further epochs."""
        for name, sequence, seed in self.SHAPES:
            with self.subTest(sequence=sequence, seed=seed):
                cache = logit_cache.LogitCache(inputs.finished(name))
                sampler = windows.WindowSampler(1282, sequence, seed)
                self.assertEqual(sampler.starts(0, sampler.per_epoch).tolist(), cache.starts)
                more = sampler.starts(sampler.per_epoch, 2 * sampler.per_epoch).reshape(2, -1)
                for epoch in more:  # each is a permutation of its own grid
                    self.assertEqual(sorted((epoch - epoch.min()).tolist()), [sampler.sequence * i for i in range(sampler.per_epoch)])
                    self.assertLessEqual(epoch.max() + sampler.sequence, 1282)

    def test_windows_and_targets(self):
        tokens = np.arange(10, 30, dtype="<i4")
        ids, targets = windows.read_window(tokens, 7, 4, 8)
        self.assertEqual((ids.tolist(), targets.tolist()), ([7, *range(15, 22)], [*range(15, 23)]))
        ids, targets = windows.read_window(tokens, None, 12, 8)
        self.assertEqual((ids.tolist(), targets.tolist()), ([*range(22, 30)], [*range(23, 30), -1]))
        self.assertEqual(windows.scored_tokens(20, np.array([4, 12]), 8), 15)
        with self.assertRaisesRegex(ValueError, "fewer than one window"):
            windows.WindowSampler(7, 8, 0)


class ScoresOfOthers(unittest.TestCase):
    """The example of docs/criteria.md: scores that transformers gives."""

    def test_wanda_with_transformers(self):
        import score_wanda
        p, model = inputs.path, inputs.path / "plain"
        text = p / "window.txt"
        tiny_teacher.write_text(text, 40)
        text.write_text(text.read_text()[:128])  # one window of bytes, so that both read the same tokens
        theirs, ours = p / "theirs.safetensors", p / "ours.safetensors"
        log = p / "wanda.log"
        self.assertEqual(exit_codes([in_child(lambda: score_wanda.main(model, text, theirs, 128) or 0, log)]), [0], log.read_text())
        tool.run_json("score", model, "--text", text, "--criterion", "wanda_sp", "--tokens", 128, "--sequence", 128, "--precision", "float32", "--out", ours)
        from safetensors.numpy import load_file
        found, expected = load_file(theirs), load_file(ours)
        self.assertEqual(sorted(found), [f"ffn.{layer}" for layer in range(4)])
        for name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)
        tool.run_json("prune", model, "--scores", theirs, "--ffn", 256, "--out", p / "by-theirs")
        tool.run_json("prune", model, "--scores", ours, "--ffn", 256, "--out", p / "by-ours")
        plans = [json.loads((p / name / "plan.json").read_text())["layers"] for name in ("by-theirs", "by-ours")]
        self.assertEqual(*plans)
        from safetensors.numpy import save_file
        save_file({name: np.full_like(score, np.nan) for name, score in found.items()}, theirs)
        done = tool.run("prune", model, "--scores", theirs, "--ffn", 256, "--out", p / "no")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("ffn.0: the score of index 0 is nan", done.stderr)


class Refused(unittest.TestCase):
    REQUIRED = ("--student", "{student}", "--text", "{text}", "--out", "{out}")
    CACHED = (*REQUIRED, "--cached", "{cache}", "--config", "{config}")
    # words, exit code, what the message says
    WORDS = [
        (("--student", "a"), 2, "required"),
        ((*CACHED, "--learnig-rate", "1"), 2, "did you mean '--learning-rate'?"),
        ((*CACHED, "--teacher", "{student}"), 2, "not allowed with"),
        ((*CACHED, "--loss", "jsd"), 2, "holds only the likeliest"),
        ((*CACHED, "--loss", "forward_lk"), 2, "did you mean 'forward_kl'?"),
        ((*CACHED, "--tokens", "many"), 2, "--tokens 'many': expected a number"),
        ((*CACHED, "--tokens", "1.5"), 2, "whole number"),
        ((*CACHED, "--warmup-ratio", "2"), 2, "expected 0 to 1"),
        ((*CACHED, "--batch", "0"), 2, "at least 1"),
        ((*CACHED, "--kl-weight", "0"), 2, "leave them out"),
        ((*CACHED, "--ce-weight", "x"), 2, "'x' is not a number"),
        ((*CACHED, "--train-embeddings", "no"), 2, "expected true or false"),
        ((*REQUIRED, "--tokens", "1k"), 2, "give --teacher or --cached"),
        ((*REQUIRED, "--cached", "{cache}"), 2, "give --tokens"),
        ((*CACHED, "--out", "{cache}"), 2, "the output is an input"),
        ((*CACHED, "--text", "nowhere"), 3, "does not exist"),
        ((*CACHED, "--config", "{wrong}"), 3, "unknown key 'learning_rat'; did you mean 'learning_rate'?"),
        ((*CACHED, "--config", "{seeded}"), 3, "seed: a training file has none"),
        ((*CACHED, "--config", "{twice}"), 3, "twice.yaml:2:1: key 'batch' appears twice"),
        ((*CACHED, "--trainer", "optim"), 2, "expected KEY=VALUE"),
        ((*CACHED, "--trainer", "weight_decai=1"), 2, "did you mean 'weight_decay'?"),
        ((*CACHED, "--trainer", "weight_decay=1"), 2, "decided by weight_decay"),
        ((*CACHED, "--trainer", "bf16=true"), 2, "decided by precision"),
        ((*CACHED, "--trainer", "save_total_limit=1"), 2, "half-written"),
        ((*CACHED, "--trainer", "optim=none"), 2, "transformers refuses"),
    ]
    # words that are checked against the contents of the inputs
    CONTENTS = [
        (("--sequence", "32"), 3, "windows of 64 tokens, but the training has sequence 32"),
        (("--temperature", "2"), 2, "temperature 1.0, but the training has temperature 2.0"),
        (("--text", "{other}"), 3, "another text"),
        (("--cached", "{half}"), 3, "holds 10 windows of 64 tokens, but the training reads 20 and window 10 is missing"),
        (("--cached", "{bos}"), 3, "windows with None as BOS over the first token, but the student reads 511 there"),
        (("--cached", "{ids}"), 3, "had other tokens for the teacher"),
        (("--student", "{cache}"), 3, "there is no config.json"),
        (("--out", "{student}-copy"), 2, "exists already"),
    ]

    @classmethod
    def setUpClass(cls):
        p = inputs.path
        texts = {"wrong": "learning_rat: 1\n", "seeded": "seed: 1\n", "twice": "batch: 1\nbatch: 2\n"}
        cls.names = {"student": inputs.student, "text": inputs.text, "out": p / "refused", "cache": inputs.cache, "config": inputs.config, "other": p / "other.txt", "half": p / "half",
                     **{name: p / f"{name}.yaml" for name in texts}, "bos": p / "bos", "ids": p / "ids"}
        for name, text in texts.items():
            (p / f"{name}.yaml").write_text(text)
        (p / "other.txt").write_text(inputs.text.read_text() + "more")
        inputs.finished("half")
        shutil.copytree(inputs.student, p / "student-copy")
        manifest = json.loads((inputs.cache / "manifest.json").read_text())
        for name, part, key, value in (("bos", "options", "window_bos", None), ("ids", "inputs", "token_ids", "0" * 64)):
            shutil.copytree(inputs.cache, p / name)
            (p / name / "manifest.json").write_text(json.dumps({**manifest, part: {**manifest[part], key: value}}))

    def fault(self, words, act):
        with self.assertRaises(options.Fault) as raised:
            act([str(word).format(**self.names) for word in words])
        return raised.exception.code, str(raised.exception)

    def test_words(self):
        for words, code, message in self.WORDS:
            with self.subTest(words=words):
                found = self.fault(words, distill_hf.run)
                self.assertEqual(found[0], code, found[1])
                self.assertIn(message, found[1])
        self.assertEqual(len(self.WORDS), 25)

    def test_contents(self):
        def prepare(words):
            given = distill_hf.parse_arguments(words)
            read = options.train_options(given.config, {name: getattr(given, name) for name in options.OPTIONS}, given.seed)
            distill_hf.prepare(given, read, work_folder.WorkFolder(given.out))

        for words, code, message in self.CONTENTS:
            with self.subTest(words=words):
                found = self.fault((*self.CACHED, *words), prepare)
                self.assertEqual(found[0], code, found[1])
                self.assertIn(message, found[1])
        self.assertEqual(len(self.CONTENTS), 8)

    def test_windows_are_divided_over_ranks(self):
        given = options.TrainOptions(tokens=1, batch=6, accumulation=2, sequence=128, tokens_at_once=512)
        self.assertEqual([distill_hf.passes(given, ranks) for ranks in (1, 2, 3, 4, 6, 12)], [(4, 3), (3, 2), (4, 1), (3, 1), (2, 1), (1, 1)])
        with self.assertRaisesRegex(options.Fault, "12 windows a step, which cannot be divided over 8 ranks"):
            distill_hf.passes(given, 8)

    def test_names_and_defaults_are_those_of_espalier(self):
        """The options of options.h but for an objective of several terms, and every training file of the repository."""
        import re
        header = (tool.source / "lib/train/distill/options.h").read_text()
        members = re.findall(r"(\w+) = ([^,;]+)[,;]", header[header.index("struct TrainOptions {"):header.index("inline options::List describe")])
        members = [(name, text) for name, text in members if name not in ("terms", "of_terms")]
        self.assertEqual(len(members), len(options.OPTIONS) + 1)
        for name, text in members:
            ours = options.TrainOptions().__dict__[name]
            text = text.strip('"')
            self.assertEqual("0" if ours is None else str(ours).lower() if isinstance(ours, (bool, str)) else float(ours), text if isinstance(ours, (bool, str)) or ours is None else float(text), name)
        files = sorted((tool.source / "configs/train").glob("*.yaml"))
        self.assertGreaterEqual(len(files), 2)
        for file in files:
            self.assertTrue(options.read_config(file))


if __name__ == "__main__":
    tool.main()
