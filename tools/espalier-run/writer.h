// SPDX-License-Identifier: Apache-2.0
// What generate and chat share: the flags that control how text is written, and the session (with
// its draft) that writes it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/generator.h"
#include "verb.h"

namespace espalier::tool {

struct WriterFlags {
  runtime::GenerateOptions generate;
  runtime::SamplerOptions sampler;
  std::string draft;
};
void add_writer_options(CLI::App& verb, Common& common, WriterFlags& flags);

class Writer {
 public:
  Writer(const Common& common, const WriterFlags& flags);

  runtime::Session& session() { return session_; }
  const text::Tokenizer& tokenizer() const { return session_.tokenizer(); }
  // Resets the random numbers, so that the next text is written as if it were the first.
  void restart() { sampler_ = runtime::Sampler(sampler_.options()); }
  runtime::Generated run(const std::vector<std::int32_t>& prompt,
                         const runtime::GenerateOptions& options, const runtime::Show& show,
                         bool reuse = false);

  // Numbers of all runs so far. report_draft() prints them on stderr, unless --quiet or there is no
  // draft. draft_numbers() has the JSON keys drafted, accepted, target_passes, acceptance_rate.
  void report_draft() const;
  nlohmann::ordered_json draft_numbers() const;

 private:
  const Common& common_;
  runtime::Sampler sampler_;
  runtime::Session session_;
  runtime::TokenReader reader_;
  std::optional<runtime::Session> draft_;
  std::optional<runtime::TokenReader> draft_reader_;
  std::optional<runtime::Generator> generator_;
  runtime::Generated sum_;  // sums of the counts
};

// Writes text to stdout and flushes it. Returns true.
bool show_text(std::string_view piece);

}  // namespace espalier::tool
