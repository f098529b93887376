# SPDX-License-Identifier: Apache-2.0
"""Distributions that stock llama.cpp and our runtime compute from one GGUF file, and how far they are from each other."""
import subprocess

import numpy as np
import torch

import tool


def words(file, text, context):
    """llama-perplexity's words for one window at a time, all in float32 that need not be rounded."""
    return list(map(str, ("-m", file, "-f", text, "-c", context, "-b", context, "-ub", context, "-t", 2, "-ctk", "f32", "-ctv", "f32", "-fa", "off", "-ngl", 0, "--no-warmup")))


def of_llama_cpp(file, text, context):
    """Tokens [windows, context] and the log-probabilities of the second half of each window's positions but the last, as llama-perplexity saves them (16 bits
    each over at most 16 nats, so within 2e-4 nats): a short run's exit outruns the thread that prints its estimate."""
    saved = file.with_suffix(".logits")
    done = subprocess.run([str(tool.llama_cpp / "llama-perplexity"), *words(file, text, context), "--kl-divergence-base", str(saved)],
                          capture_output=True, text=True, errors="replace", timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    data = saved.read_bytes()
    saved.unlink()
    assert data[:8] == b"_logits_", data[:8]
    n_ctx, vocab, chunks = np.frombuffer(data, np.int32, 3, 8)
    assert n_ctx == context, (n_ctx, context)
    tokens = np.frombuffer(data, np.int32, n_ctx * chunks, 20).reshape(chunks, n_ctx)
    first, width = n_ctx // 2, 2 * ((vocab + 1) // 2) + 4  # the second half of each window is scored
    rows = np.frombuffer(data, np.uint16, offset=20 + 4 * n_ctx * chunks).reshape(chunks, n_ctx - 1 - first, width)
    scale, least = rows[..., :2].copy().view(np.float32), rows[..., 2:4].copy().view(np.float32)
    return torch.tensor(tokens.astype(np.int64)), torch.tensor(rows[..., 4:4 + vocab].astype(np.float64) * scale + least)


def of_ours(file, text, context, shape):
    """The same log-probabilities of our runtime, in `shape`, and its perplexity."""
    rows = file.with_suffix(".rows")
    result = tool.run_json("perplexity", file, "--text", text, "--context", context, "--protocol", "llama.cpp", "--kv", "f32", "--logits", rows, program=tool.espalier_run)
    logits = torch.from_file(str(rows), size=shape.numel()).view(shape).double()
    rows.unlink()
    return torch.log_softmax(logits, -1), result["perplexity"]


def divergence(expected, read):
    """Mean KL from `expected` to `read`, both log-probabilities [windows, positions, V]; `read` may lack what lies 16 nats below its best."""
    read = torch.log_softmax(read, -1)
    return (expected.exp() * (expected - read)).sum(-1).mean().item()
