// SPDX-License-Identifier: Apache-2.0
// Texts from files, and from the model.
#ifdef ESPALIER_WITH_TRAINING
#include "stages/texts.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "core/error.h"
#include "hash/sha256.h"
#include "model/write_text.h"
#include "plan/memory.h"
#include "text/tokenizer.h"

namespace espalier::stages {
namespace {

// As many windows as its share of all of them, and one for what is rounded away.
model::WrittenText wanted(const checkpoint::Checkpoint& source,
                          const text::CalibrationOptions& calibration, double share) {
  const text::TokenizerSettings settings = source.tokenizer();
  const auto first = settings.bos ? settings.bos : settings.eos;
  ESP_CHECK(first.has_value(), unsupported, source.path(),
            ": text self: its tokenizer has neither BOS nor EOS, so that no text can begin; give a "
            "text");
  const auto windows = static_cast<double>(calibration.tokens / calibration.sequence);
  return {.sequences = static_cast<std::int64_t>(windows * share) + (share < 1 ? 1 : 0),
          .length = calibration.sequence,
          .first = *first,
          .end = settings.eos,
          .seed = calibration.seed};
}

data::Corpus written(const Context& context, const checkpoint::Checkpoint& source,
                     const model::WrittenText& text) {
  const int threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  plan::require_memory(
      model::write_text_bytes(source.arch(), source.dims(), text, threads), context.max_ram,
      "the whole model is in memory while it writes a text; give a text, or read fewer tokens");
  if (context.progress)
    context.progress(
        {"text", 0, 0, "",
         "the model writes " + std::to_string(text.sequences * text.length) + " tokens"});
  const torch::Tensor ids = model::write_text(model::Transformer::load(source, {}), text);
  const std::span all(ids.const_data_ptr<std::int64_t>(), static_cast<std::size_t>(ids.numel()));
  data::Corpus out;
  out.path = kSelf;
  out.sha256 =
      hash::sha256(std::string(reinterpret_cast<const char*>(all.data()), all.size_bytes()));
  out.tokens.assign(all.begin(), all.end());
  return out;
}

}  // namespace

std::vector<data::Share> texts_of(const Context& context, const checkpoint::Checkpoint& source,
                                  const text::CalibrationOptions& calibration) {
  std::vector<data::Share> out;
  const auto texts = context.inputs.find("text");
  if (texts == context.inputs.end()) return out;
  double total = 0;
  for (const Source& text : texts->second) total += text.weight;
  for (const Source& text : texts->second) {
    out.push_back({text.path, text.weight, nullptr});
    if (text.path == kSelf)
      out.back().read = std::make_shared<const data::Corpus>(
          written(context, source, wanted(source, calibration, text.weight / total)));
  }
  return out;
}

}  // namespace espalier::stages
#endif
