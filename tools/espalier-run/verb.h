// SPDX-License-Identifier: Apache-2.0
// What all verbs share: common flags, opening a session, printing a result. A verb is one file. It
// adds a subcommand whose callback turns flags into library calls and prints. Results go to stdout,
// progress to stderr.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/session.h"
#include "text/documents.h"

namespace espalier::tool {

struct Common {
  bool json = false, quiet = false, pin = false;
  int threads = 0;
  std::uint64_t seed = 0;
  std::string model, isa, kv = "f16";
  std::int64_t context = 0;
};

// Adds FILE.gguf --json --quiet --threads --seed. Verbs that run the model also get --isa --kv
// --pin.
CLI::App* add_verb(CLI::App& app, Common& common, const std::string& name,
                   const std::string& description, bool runs_model = true);
// Adds --text-control-tokens, for verbs that read texts.
CLI::Option* add_reading(CLI::App& verb, text::Reading& reading);
// The most that a model can read. Error(unsupported) for a model that is not computed yet.
std::int64_t positions_of(const std::string& model);
runtime::SessionOptions session_options(const Common& common);
// Opens a model. Leaves a note when a packed file beside it cannot be used.
runtime::Session open_session(const Common& common, const std::string& path,
                              const runtime::SessionOptions& options);
// Prints `result` as one JSON object with --json, else `readable`.
void print(const Common& common, const nlohmann::ordered_json& result, const std::string& readable);

// One line per verb. main.cpp expands the list.
#define ESP_VERBS(ESP_VERB) \
  ESP_VERB(generate)        \
  ESP_VERB(chat) ESP_VERB(perplexity) ESP_VERB(bench) ESP_VERB(tokenize) ESP_VERB(pack)
#define ESP_VERB(name) void add_##name(CLI::App& app, Common& common);
ESP_VERBS(ESP_VERB)
#undef ESP_VERB

}  // namespace espalier::tool
