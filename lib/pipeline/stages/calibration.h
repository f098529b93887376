// SPDX-License-Identifier: Apache-2.0
// The options of every stage that reads calibration text: how much of it, in which windows.
#pragma once
#include "arch/positions.h"
#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "options/option.h"
#include "plan/memory.h"
#include "stages/stage.h"
#include "text/calibration.h"

namespace espalier::stages {

// One text or several.
inline Input calibration_text(const std::string& help, bool required = false) {
  return {.key = "text",
          .flag = "--text",
          .help = help + "; several, each with a weight: a.txt:2",
          .takes = {Artifact::text},
          .otherwise = "text.train",
          .required = required,
          .weighted = true};
}

inline options::List describe(text::CalibrationOptions& o) {
  options::List list;
  list.begin_group("calibration text");
  list.add("tokens", &o.tokens, "tokens to read of the text").between(1, 1e15);
  list.add("sequence", &o.sequence,
           "tokens of a window; by default no more than the model's context")
      .between(2, 1 << 20);
  list.add(
          "precision", &o.precision,
          "of the matrix products that the text goes through; auto: what is fast on this processor")
      .one_of({"auto", "float32", "bfloat16"});
  return list;
}

// Error(usage) for fewer tokens than one window.
inline void require_window(std::int64_t tokens, std::int64_t sequence) {
  ESP_CHECK(tokens >= sequence, usage, "tokens ", tokens, ": fewer than one window of ", sequence,
            "; read more, or give a shorter sequence");
}

// What to read, with the seed of the run. A window that nobody asked for fits into the model's
// context; Error(usage) for one that was asked for and is longer.
inline text::CalibrationOptions windows_of(const Stage& stage, const text::CalibrationOptions& o,
                                           std::uint64_t seed, const arch::ModelDims& dims,
                                           const std::string& place) {
  text::CalibrationOptions out = o;
  out.seed = seed;
  if (stage.given_names.contains("sequence"))
    arch::require_positions(dims, out.sequence, "sequence", place);
  out = out.within(dims.positions);
  require_window(out.tokens, out.sequence);
  return out;
}

// The same of what is only planned: windows that are asked for fit into the model that reads them,
// under `key`, and the text has to have one.
inline void plan_windows(const Stage& stage, const text::CalibrationOptions& o, const char* key,
                         Forecast& forecast) {
  if (stage.given_names.contains("sequence"))
    forecast.require_window("sequence", o.sequence, {key});
  forecast.window = std::min(o.sequence, forecast.model(key).dims.positions);
  require_window(o.tokens, forecast.window);
}

// The same, so many at a time that `memory` stays within the run's limit. `advice`: what else would
// need less.
template <typename Memory>
text::CalibrationOptions windows_within(const Stage& stage, const text::CalibrationOptions& o,
                                        const Context& context,
                                        const checkpoint::Checkpoint& source, const char* advice,
                                        Memory&& memory) {
  text::CalibrationOptions out = windows_of(stage, o, context.seed, source.dims(), source.path());
  plan::batch_within(context.max_ram, out.sequence, advice, [&](std::int64_t batch) {
    out.batch_tokens = batch;
    return memory(out);
  });
  return out;
}

}  // namespace espalier::stages
