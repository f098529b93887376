// SPDX-License-Identifier: Apache-2.0
// espalier-run: runs a GGUF on a device. Flags -> library calls -> print.
#include <CLI/CLI.hpp>

#include "command_line.h"
#include "core/error.h"
#include "core/notes.h"
#include "progress.h"
#include "reference.h"
#include "streams.h"
#include "verb.h"
#include "version/version.h"

int main(int argc, char** argv) {
  using namespace espalier;
  if (!tool::prepare_streams()) return static_cast<int>(core::ErrorKind::input);
  CLI::App app{"espalier-run: generate, measure and tokenize with a GGUF file", "espalier-run"};
  app.set_version_flag("--version", "espalier-run " + version::full());
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  tool::Common common;
  core::hear_notes([&common](const std::string& text) {
    if (!common.quiet) tool::say("espalier-run: note: " + text);
  });
#define ESP_VERB(name) tool::add_##name(app, common);
  ESP_VERBS(ESP_VERB)
#undef ESP_VERB
  tool::add_reference(app);
  return tool::run_command_line(app, argc, argv, &common.model);
}
