// SPDX-License-Identifier: Apache-2.0
// espalier: flags -> one library call -> print. Besides espalier-run, only this program prints
// results.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "command_line.h"
#include "core/error.h"
#include "core/notes.h"
#include "progress.h"
#include "recipe_reference.h"
#include "reference.h"
#include "stage_verb.h"
#include "streams.h"
#include "verb.h"
#include "version/version.h"

int main(int argc, char** argv) {
  using namespace espalier;
  if (!tool::prepare_streams()) return static_cast<int>(core::ErrorKind::input);
  CLI::App app{"Espalier: from a large language model to a small, verified GGUF for devices",
               "espalier"};
  app.set_version_flag("--version", "espalier " + version::full());
  app.require_subcommand(1);
  app.option_defaults()->always_capture_default();
  app.fallthrough();
  core::hear_notes([](const std::string& text) { tool::say("espalier: note: " + text); });
  tool::Common common;
  std::error_code ignored;
  common.program_directory =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().string();
#define ESP_VERB(name) tool::add_##name(app, common);
  ESP_VERBS_FILES(ESP_VERB)
#ifdef ESPALIER_WITH_TRAINING
  ESP_VERBS_TRAIN(ESP_VERB)
#endif
#undef ESP_VERB
  tool::add_stage_verbs(app, common);
  tool::add_reference(app, tool::recipe_reference);
  const int code = tool::run_command_line(app, argc, argv);
#ifdef ESPALIER_WITH_TRAINING
  // Everything is written and closed. To take LibTorch's tables apart would cost a third of the
  // time of a short command.
  ::_exit(code);
#else
  return code;
#endif
}
