# SPDX-License-Identifier: Apache-2.0
"""The Trainer that computes what `espalier distill` computes. Whatever is not said here is the Trainer's own: optimizer, clipping, precision,
placement, checkpoints.

A rank's loss is its sum over tokens, times the number of ranks, divided by the scored tokens of the whole step. DDP, FSDP and DeepSpeed average
gradients over ranks, which leaves the sum over all tokens divided once. The number of scored tokens follows from the order of the windows, so
that no rank has to ask the others."""
import json
import math
import sys
import time

import losses
import numpy as np
import torch
from options import CHECK_FAILED, require
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from windows import WindowSampler, read_window, scored_tokens


class Windows(Dataset):
    """Window i of the training, with the teacher's logits where a cache has them, and the scored tokens of its step."""

    def __init__(self, tokens, bos, cache, options, steps):
        self._tokens = np.memmap(tokens, dtype="<i4", mode="r")
        self._bos, self._cache, self._sequence = bos, cache, options.sequence
        self._per_step = options.batch * options.accumulation
        self._sampler = WindowSampler(len(self._tokens), options.sequence, options.seed)
        self._length = steps * self._per_step
        self._step = None, None, None  # the last one: number, starts, scored tokens

    def __len__(self):
        return self._length

    def _of_step(self, step):
        if self._step[0] != step:
            starts = self._sampler.starts(step * self._per_step, self._per_step)
            if self._cache is not None:
                starts = self._cache.on_grid(starts)
            self._step = step, starts, scored_tokens(len(self._tokens), starts, self._sequence)
        return self._step[1:]

    def __getitem__(self, index):
        starts, scored = self._of_step(index // self._per_step)
        start = int(starts[index % self._per_step])
        ids, targets = read_window(self._tokens, self._bos, start, self._sequence)
        item = {"input_ids": ids, "targets": targets, "scored": np.int64(scored)}
        if self._cache is not None:
            window = self._cache.window(start)
            item.update(kept=window.ids.astype(np.int64), log_probabilities=window.log_probabilities, rest=window.rest)
        return item


def collate(items):
    return {key: torch.from_numpy(np.stack([item[key] for item in items])) for key in items[0]}


# lib/train/distill/schedules: the share of the peak, from the progress behind the warm-up (0 to 1) and the share at the last step.
SCHEDULES = {
    "cosine": lambda progress, final: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress)),
    "constant": lambda progress, final: 1.0,
    "linear": lambda progress, final: 1 + (final - 1) * progress,
    "wsd": lambda progress, final: 1.0 if progress <= 0.8 else final + (1 - final) * (1 - math.sqrt((progress - 0.8) / (1 - 0.8))),
}


def learning_rate_factor(step, steps, options):
    """lib/train/distill/schedule.h: a linear warm-up, then the curve of the schedule. `step` counts from 0."""
    warmup = math.ceil(options.warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return SCHEDULES[options.schedule](progress, options.final_learning_rate_ratio)


class StepTrainer(Trainer):
    loss_is_scaled_for_ga = True

    def __init__(self, args, student, teacher, windows, options, work, quiet=False):
        super().__init__(model=student, args=args, train_dataset=windows, data_collator=collate, callbacks=[Report(self, work, options, quiet)])
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.teacher, self.options = teacher, options
        self.sums = torch.zeros(2, device=args.device)  # kl and ce of the step so far, on this rank
        self.scored = None

    def _get_train_sampler(self, *ignored):
        return SequentialSampler(self.train_dataset)

    def get_decay_parameter_names(self, model):
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def create_scheduler(self, num_training_steps, optimizer=None):
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer if optimizer is None else optimizer,
                                                                  lambda step: learning_rate_factor(step, num_training_steps, self.options))
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _teacher_rows(self, inputs):
        """(kind of divergence, the teacher's tensors with a row for each token)."""
        if self.teacher is not None:
            with torch.no_grad():
                return self.options.loss, (self.teacher(input_ids=inputs["input_ids"], use_cache=False).logits.flatten(0, 1),)
        if "kept" in inputs:
            return "sparse", (inputs["kept"].flatten(0, 1), inputs["log_probabilities"].flatten(0, 1), inputs["rest"].flatten())
        return "none", ()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(input_ids=inputs["input_ids"], use_cache=False).logits
        kind, teacher = self._teacher_rows(inputs)
        kl, ce = losses.sums(logits.flatten(0, 1), inputs["targets"].flatten(), teacher, kind, self.options)
        self.sums += torch.stack([kl.detach(), ce.detach()])
        self.scored = inputs["scored"][0]
        return (self.options.kl_weight * kl + self.options.ce_weight * ce) * self.accelerator.num_processes / self.scored


class Report(TrainerCallback):
    """A line of metrics.jsonl a step, progress, and the mark that a checkpoint is whole."""

    def __init__(self, trainer, work, options, quiet):
        self.trainer, self.work, self.options, self.quiet = trainer, work, options, quiet
        self.metrics, self.said, self.begin = None, 0, None

    def on_step_begin(self, args, state, control, **more):
        self.begin = time.monotonic()

    def on_pre_optimizer_step(self, args, state, control, **more):
        """The losses of the step over all ranks, before the update that a loss which is not finite would spoil."""
        trainer, o = self.trainer, self.options
        kl, ce = (total / int(trainer.scored) for total in trainer.accelerator.reduce(trainer.sums, "sum").tolist())
        trainer.sums = torch.zeros_like(trainer.sums)
        loss = o.kl_weight * kl + o.ce_weight * ce
        step, rate = state.global_step + 1, o.learning_rate * learning_rate_factor(state.global_step, state.max_steps, o)
        require(math.isfinite(loss), CHECK_FAILED, "step ", step, ": the loss is not finite (learning rate ", rate, "); lower the learning rate or check the models' weights")
        self.metrics = {"step": step, "tokens": step * o.batch * o.accumulation * o.sequence, "loss": loss, "kl": kl, "ce": ce, "learning_rate": rate}

    def on_step_end(self, args, state, control, **more):
        if not self.trainer.is_world_process_zero():
            return
        now = time.monotonic()
        o, m = self.options, self.metrics
        m["tokens_per_second"] = o.batch * o.accumulation * o.sequence / max(now - self.begin, 1e-9)
        self.work.add_metrics(json.dumps({key: value if isinstance(value, int) else float(f"{value:.9g}") for key, value in m.items()}, separators=(",", ":")))
        if not self.quiet and (now - self.said > 5 or state.global_step == state.max_steps):
            self.said = now
            print(f"step {m['step']} of {state.max_steps}: loss {m['loss']:.4f}, {m['tokens_per_second']:.0f} tokens/s", file=sys.stderr, flush=True)

    def on_save(self, args, state, control, **more):
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            self.work.complete(state.global_step)
