// SPDX-License-Identifier: Apache-2.0
// espalier-run: runs a GGUF on a device. Flags -> library calls -> print. Only main() maps an Error
// to an exit code.
#include <CLI/CLI.hpp>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <sstream>

#include "command_line.h"
#include "core/error.h"
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
#define ESP_VERB(name) tool::add_##name(app, common);
  ESP_VERBS(ESP_VERB)
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
    std::cerr << "espalier-run: " << e.what()
              << "\nRun 'espalier-run --help' or 'espalier-run VERB --help'.\n";
    return static_cast<int>(core::ErrorKind::usage);
  } catch (const core::Error& e) {
    std::cerr << "espalier-run: " << e.what() << "\n";
    return e.exit_code();
  } catch (const std::bad_alloc&) {
    std::cerr << "espalier-run: not enough memory for " << common.model << "\n";
    return static_cast<int>(core::ErrorKind::unsupported);
  } catch (const std::filesystem::filesystem_error& e) {
    std::cerr << "espalier-run: " << e.path1().string() << ": " << e.code().message() << "\n";
    return static_cast<int>(core::ErrorKind::input);
  } catch (const std::exception& e) {
    std::cerr << "espalier-run: internal error: " << e.what() << "\n";
    return static_cast<int>(core::ErrorKind::internal);
  }
}
