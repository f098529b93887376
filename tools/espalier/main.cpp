// SPDX-License-Identifier: Apache-2.0
// espalier: flags -> one library call -> print. Besides espalier-run, only this program prints
// results and maps an Error to an exit code.
#include <CLI/CLI.hpp>
#include <exception>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "command_line.h"
#include "core/error.h"
#include "core/notes.h"
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
  core::hear_notes(
      [](const std::string& text) { std::cerr << "espalier: note: " << text << "\n"; });
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
  try {
    try {
      tool::parse_command_line(app, argc, argv);
    } catch (const CLI::ParseError& e) {
      if (e.get_exit_code() != 0) throw;
      std::ostringstream told;  // --help, --version
      app.exit(e, told, told);
      tool::write_result(told.str());
    }
    tool::finish_results();
    return 0;
  } catch (const tool::BrokenPipe&) {
    tool::end_by_broken_pipe();
    return static_cast<int>(core::ErrorKind::input);
  } catch (const CLI::ParseError& e) {
    std::cerr << "espalier: " << e.what() << "\nRun 'espalier --help' or 'espalier VERB --help'.\n";
    return static_cast<int>(core::ErrorKind::usage);
  } catch (const core::Error& e) {
    std::cerr << "espalier: " << e.what() << "\n";
    return e.exit_code();
  } catch (const std::filesystem::filesystem_error& e) {
    std::cerr << "espalier: " << e.path1().string() << ": " << e.code().message() << "\n";
    return static_cast<int>(core::ErrorKind::input);
  } catch (const std::exception& e) {
    std::cerr << "espalier: internal error: " << e.what() << "\n";
    return static_cast<int>(core::ErrorKind::internal);
  }
}
