// SPDX-License-Identifier: Apache-2.0
// What generate and chat share: the flags that say how text is written, and the session (with its
// draft) that writes it.
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
  // Forgets the random numbers drawn so far: the next text is as if it were the first.
  void restart() { sampler_ = runtime::Sampler(sampler_.options()); }
  runtime::Generated run(const std::vector<std::int32_t>& prompt,
                         const runtime::GenerateOptions& options, const runtime::Show& show,
                         bool reuse = false);

  // Of all runs so far, on stderr unless --quiet or there is no draft; and as JSON keys: drafted
  // accepted target_passes acceptance_rate.
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
  runtime::Generated sum_;  // of the counts
};

// stdout, flushed: text as it comes. True.
bool show_text(std::string_view piece);

}  // namespace espalier::tool
