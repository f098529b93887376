// SPDX-License-Identifier: Apache-2.0
// Prints what a recipe may say: inputs, options and outputs of every kind of stage, and gates.
#include "recipe_reference.h"

#include <sstream>

#include "reference.h"
#include "stages/stage.h"

namespace espalier::tool {
namespace {

std::string wanted(const stages::Input& input) {
  std::string out = input.many ? "list of " : "";
  bool first = true;
  for (const stages::Artifact artifact : input.takes) {
    out += (first ? "" : " or ") + std::string(artifact_name(artifact));
    first = false;
  }
  if (input.weighted) out += ", or a list of `NAME:WEIGHT`";
  return out + (input.or_none ? ", or `none`" : "");
}

void print_inputs(std::ostream& out, const stages::Stage& stage) {
  for (const stages::Input& input : stage.inputs()) {
    const std::string otherwise = !input.otherwise.empty() ? "`" + input.otherwise + "`"
                                  : input.required         ? "required"
                                                           : "";
    out << "| `" << input.key << "` | " << cell(wanted(input)) << " | " << otherwise << " | "
        << cell(input.help) << " |\n";
  }
}

void print_options(std::ostream& out, stages::Stage& stage) {
  for (const options::Option& option : stage.options()) {
    const std::string value = options::value_text(option), range = options::range_text(option);
    out << "| `" << option.name << "`" << (option.older.empty() ? "" : ", `" + option.older + "`")
        << " | "
        << cell(range.empty() || options::is_map(option) ? options::kind_text(option) : range)
        << " | " << cell(value.empty() ? option.absent : "`" + value + "`") << " | "
        << cell(option.help) << " |\n";
  }
}

void print_kind(std::ostream& out, const stages::Kind& kind) {
  const auto stage = kind.make();
  out << "\n### kind: " << kind.name << "\n\n" << kind.purpose << ". Makes ";
  bool first = true;
  for (const stages::Output& output : stage->outputs()) {
    out << (first ? "" : " and ") << artifact_name(output.artifact) << " (`" << output.file << "`)";
    first = false;
  }
  out << ".\n\n| key | value | default | what it is |\n|---|---|---|---|\n";
  print_inputs(out, *stage);
  print_options(out, *stage);
  if (stage->deliverable())
    out << "| `deliver` | TEXT | "
        << (stage->delivers().empty() ? "" : "`" + stage->delivers() + "`")
        << " | name of the result in `--out` |\n";
}

void print_gates(std::ostream& out) {
  const stages::Kind* verify = stages::find_kind("verify");
  if (verify == nullptr) return;
  out << "\n## Gates\n\nKeys of `gates`, each a limit of a value of the "
         "[device card](device-card.md):\n\n";
  const auto stage = verify->make();
  const options::List list = stage->options();
  for (const std::string& gate : list.at("gates").choices) out << "- `" << gate << "`\n";
}

}  // namespace

std::string recipe_reference() {
  std::ostringstream out;
  out << "\n## Recipes\n\n"
         "Keys of a recipe. [recipes.md](recipes.md) explains them.\n\n"
         "| key | value | default | what it is |\n|---|---|---|---|\n"
         "| `name` | TEXT | required | name of the recipe |\n"
         "| `seed` | COUNT | `0` | seed of everything random |\n"
         "| `teacher` | PATH | required | Hugging Face directory or GGUF |\n"
         "| `teacher_shape` | FILE |  | a `config.json` that `plan` reads while the teacher is "
         "missing |\n"
         "| `text.train` | FILE | required | text for calibration and training |\n"
         "| `text.held_out` | FILE |  | text for `verify`, which `train` must not contain |\n"
         "| `text.control_tokens` | yes, no | `yes` | whether control tokens that are written out "
         "in "
         "the texts are read as tokens ([text.md](text.md)) |\n"
         "| `text.train_sha256`, `text.held_out_sha256` | TEXT |  | hashes that are checked before "
         "anything runs |\n"
         "| `stages` | list | required | stages, in order |\n\n"
         "Keys of every stage: `name`, `kind`, and `use`, a file whose keys are defaults.\n";
  for (const stages::Kind* kind : stages::all_kinds()) print_kind(out, *kind);
  print_gates(out);
  return out.str();
}

}  // namespace espalier::tool
