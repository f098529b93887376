// SPDX-License-Identifier: Apache-2.0
// Runs a command line, and looks for the nearest command or flag when CLI11 knows none.
#include "command_line.h"

#include <charconv>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <sstream>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "progress.h"
#include "streams.h"
#include "text/tokenizer.h"

namespace espalier::tool {
namespace {

std::string did_you_mean(const std::string& name, const std::vector<std::string>& known) {
  const std::string nearest = core::nearest_name(name, known.data(), known.size());
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

std::string help_of(const CLI::App& app, const CLI::App* verb) {
  return "\nRun '" + app.get_name() + (verb != nullptr ? " " + verb->get_name() : "") + " --help'.";
}

void require_known_verb(const CLI::App& app, const std::string& word) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
  for (const std::string& verb : verbs)
    if (verb == word) return;
  core::fail(core::ErrorKind::usage, "'", word, "' is not a command", did_you_mean(word, verbs),
             help_of(app, nullptr));
}

const CLI::App* verb_of(const CLI::App& app) {
  const std::vector<const CLI::App*> verbs =
      app.get_subcommands([](const CLI::App* verb) { return verb->parsed(); });
  return verbs.empty() ? nullptr : verbs.front();
}

// Error(usage) for the first flag that neither the program nor the verb has, else for a word that
// follows no flag.
void refuse_unknown_words(const CLI::App& app) {
  const CLI::App* verb = verb_of(app);
  const std::string place = verb != nullptr ? verb->get_name() + ": " : "";
  const std::vector<std::string> unknown = app.remaining(true);
  for (const std::string& word : unknown) {
    if (!word.starts_with("-")) continue;
    std::vector<std::string> flags;
    for (const CLI::App* of : {&app, verb})
      if (of != nullptr)
        for (const CLI::Option* option : of->get_options())
          for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    const std::string flag = word.substr(0, word.find('='));
    core::fail(core::ErrorKind::usage, place, "'", flag, "' is not a flag",
               did_you_mean(flag, flags), help_of(app, verb));
  }
  if (!unknown.empty())
    core::fail(core::ErrorKind::usage, place, "'", unknown.front(), "' was not expected",
               help_of(app, verb));
}

// Error(usage) names the verb, and the command or flag that is nearest to an unknown one, even
// where something required is missing. Other faults are CLI11's.
void parse(CLI::App& app, int argc, char** argv) {
  if (argc > 1 && argv[1][0] != '-' && argv[1][0] != '\0') require_known_verb(app, argv[1]);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ExtrasError&) {
    refuse_unknown_words(app);
    throw;
  } catch (const CLI::RequiredError& e) {
    refuse_unknown_words(app);  // what is missing may be there, misspelt
    const CLI::App* verb = verb_of(app);
    core::fail(core::ErrorKind::usage,
               verb != nullptr ? verb->get_name() + ": " + e.what() : "a command is required",
               help_of(app, verb));
  }
}

// --help and --version are exceptions of CLI11 too.
void parse_and_print(CLI::App& app, int argc, char** argv) {
  try {
    parse(app, argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() != 0) throw;
    std::ostringstream told;
    app.exit(e, told, told);
    write_result(told.str());
  }
  finish_results();
}

// The words of the command line, for the progress file.
std::vector<std::string>& words() {
  static std::vector<std::string> all;
  return all;
}

// The exit code. BrokenPipe passes.
int code_of(CLI::App& app, int argc, char** argv, const std::string* model) {
  const std::string& name = app.get_name();
  const auto failed = [&](const std::string& text, core::ErrorKind kind) {
    say(name + ": " + text);
    return static_cast<int>(kind);
  };
  try {
    parse_and_print(app, argc, argv);
    return 0;
  } catch (const BrokenPipe&) {
    throw;
  } catch (const CLI::ParseError& e) {
    return failed(
        std::string(e.what()) + "\nRun '" + name + " --help' or '" + name + " VERB --help'.",
        core::ErrorKind::usage);
  } catch (const core::Error& e) {
    return failed(e.what(), e.kind());
  } catch (const std::filesystem::filesystem_error& e) {
    return failed(e.path1().string() + ": " + e.code().message(), core::ErrorKind::input);
  } catch (const std::bad_alloc& e) {
    if (model != nullptr)
      return failed("not enough memory for " + *model, core::ErrorKind::unsupported);
    return failed(std::string("internal error: ") + e.what(), core::ErrorKind::internal);
  } catch (const std::exception& e) {
    return failed(std::string("internal error: ") + e.what(), core::ErrorKind::internal);
  }
}

}  // namespace

int run_command_line(CLI::App& app, int argc, char** argv, const std::string* model) {
  words().assign(argv, argv + argc);
  try {
    const int code = code_of(app, argc, argv, model);
    leave_progress();
    end_progress_file(code);
    return code;
  } catch (const BrokenPipe&) {
    end_progress_file(128 + SIGPIPE);
    end_by_broken_pipe();
    return static_cast<int>(core::ErrorKind::input);
  }
}

void add_pre(CLI::App& verb) {
  verb.add_option_function<std::string>(
      "--pre", [](const std::string& name) { text::assume_pre(name); },
      "how a GGUF that does not say it (tokenizer.ggml.pre) divides text into words, such as "
      "gpt-2, llama-bpe or qwen2");
}

void add_progress_file(CLI::App& verb) {
  verb.add_option_function<std::string>(
      "--progress-file",
      [&verb](const std::string& path) {
        begin_progress_file(path, verb.get_parent()->version(), words());
      },
      "file to which lines of JSON about the progress are appended");
}

void add_seed(CLI::App& verb, std::uint64_t& seed) {
  verb.add_option("--seed", seed, "seed of everything random, where something is")
      ->check(whole_number(0, UINT64_MAX));
}

CLI::Validator number_between(double low, double high) {
  const auto refusal = [low, high](const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && value >= low && value <= high) return std::string();
    std::ostringstream out;
    out << "expected a number from " << low << " to " << high << ", not " << text;
    return out.str();
  };
  return CLI::Validator(refusal, "", "");
}

CLI::Validator whole_number(std::uint64_t low, std::uint64_t high) {
  const auto refusal = [low, high](const std::string& text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && value >= low && value <= high) return std::string();
    return "expected a whole number from " + std::to_string(low) +
           (high < INT64_MAX ? " to " + std::to_string(high) : " on") + ", not " + text;
  };
  return CLI::Validator(refusal, "", "");
}

}  // namespace espalier::tool
