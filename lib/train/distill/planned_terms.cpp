// SPDX-License-Identifier: Apache-2.0
// Turns options into terms, and checks them against what a run has.
#include "distill/planned_terms.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "core/error.h"
#include "core/file.h"
#include "distill/trainer.h"
#include "plan/prune_plan.h"

namespace espalier::distill {
namespace {

using objective::PlannedTerm;
using objective::Reads;
using objective::Term;

// Beside `terms` the short form has no effect.
void refuse_short_form(const TrainOptions& o) {
  const TrainOptions defaults;
  const auto refuse = [](const char* key, const std::string& instead) {
    core::fail(core::ErrorKind::usage, key,
               ": no effect beside terms, which name the whole objective; leave it out, or give ",
               instead);
  };
  if (o.loss != defaults.loss) refuse("loss", "terms: {" + o.loss + ": 0.5}");
  if (o.kl_weight != defaults.kl_weight) refuse("kl_weight", "the weight in terms");
  if (o.ce_weight != defaults.ce_weight) refuse("ce_weight", "terms: {ce: 0.5}");
}

// What is given to a term that is not used has no effect.
void refuse_unused(const TrainOptions& given, const std::vector<PlannedTerm>& planned) {
  objective::TermOptions values = given.of_terms, used_values = given.of_terms;
  options::List used;
  for (const PlannedTerm& t : planned)
    if (t.term->describe != nullptr) t.term->describe(used_values, used);
  objective::describe(values);
  const objective::TermOptions defaults = objective::default_options();
  const auto refuse = [](const std::string& name) {
    std::string terms;
    for (const Term* term : objective::all_terms()) {
      objective::TermOptions of_term;
      options::List list;
      if (term->describe != nullptr) term->describe(of_term, list);
      if (list.find(name) != nullptr)
        terms += (terms.empty() ? "" : " or ") + std::string(term->name);
    }
    core::fail(core::ErrorKind::usage, name, ": no effect without the term ", terms,
               "; leave it out, or add the term");
  };
  for (const auto& [name, value] : values.numbers)
    if (used.find(name) == nullptr && value != defaults.number(name)) refuse(name);
  for (const auto& [name, value] : values.lists)
    if (used.find(name) == nullptr && value != defaults.list(name)) refuse(name);
}

std::vector<PlannedTerm> short_form(const TrainOptions& o) {
  return {{&objective::term_by_name(o.loss), {o.kl_weight, o.kl_weight}, "kl"},
          {&objective::term_by_name("ce"), {o.ce_weight, o.ce_weight}, "ce"}};
}

std::string what_of(const TrainOptions& o, const PlannedTerm& t) {
  return (o.terms.empty() ? "loss " : "term ") + std::string(t.term->name);
}

}  // namespace

std::vector<PlannedTerm> planned_terms(const TrainOptions& o) {
  std::vector<PlannedTerm> out;
  if (o.terms.empty()) {
    out = short_form(o);
  } else {
    refuse_short_form(o);
    for (const auto& [name, weight] : o.terms) objective::term_by_name(name);
    for (const Term* term : objective::all_terms())
      if (const auto found = o.terms.find(std::string(term->name)); found != o.terms.end())
        out.push_back(
            {term, objective::parse_weight(found->second, "terms: " + found->first), found->first});
  }
  refuse_unused(o, out);
  return out;
}

bool reads_teacher(const TrainOptions& options) {
  const std::vector<PlannedTerm> terms = planned_terms(options);
  return std::any_of(terms.begin(), terms.end(), std::mem_fn(&PlannedTerm::reads_teacher));
}

void check_teacher(const std::vector<PlannedTerm>& terms, const TrainOptions& o, bool has_teacher) {
  if (o.terms.empty()) {
    ESP_CHECK(
        o.ce_weight > 0 || (has_teacher && o.kl_weight > 0), usage, "nothing to train for: ",
        has_teacher ? "kl_weight and ce_weight are 0" : "there is no teacher and ce_weight is 0");
    return;
  }
  const auto reader =
      std::find_if(terms.begin(), terms.end(), std::mem_fn(&PlannedTerm::reads_teacher));
  ESP_CHECK(has_teacher || reader == terms.end(), usage, what_of(o, *reader),
            " compares with a teacher, and there is none; give one, or leave the term out");
  ESP_CHECK(!has_teacher || reader != terms.end(), usage,
            "terms: none of them reads the teacher; leave the teacher out (in a recipe: teacher: "
            "none), or add a term such as forward_kl");
}

void check_cached(const std::vector<PlannedTerm>& terms, const TrainOptions& o,
                  const std::string& path, std::int64_t k) {
  for (const PlannedTerm& t : terms) {
    if (t.term->cacheable) continue;
    ESP_CHECK(t.term->reads == Reads::states, usage, what_of(o, t),
              " needs the teacher's probability of every token, but ", path, " holds only the ", k,
              " likeliest tokens; train with loss forward_kl, or with --teacher");
    core::fail(core::ErrorKind::usage, what_of(o, t),
               " needs what the teacher computes inside, but ", path,
               " holds only its likeliest tokens; train with --teacher");
  }
}

namespace {

objective::Origin origin_of(const checkpoint::Checkpoint& student,
                            const checkpoint::Checkpoint& teacher) {
  const std::string path = student.path() + "/plan.json";
  std::error_code unreadable;
  if (!std::filesystem::exists(path, unreadable))
    return {.unknown = path + " is missing: the student was not made by pruning"};
  const plan::PrunePlan plan =
      plan::prune_plan_from_json(core::read_text_file(path), teacher.dims(), path);
  if (!plan.source_sha256.empty())
    plan::require_source(plan, teacher.path(), teacher.sha256(), path);
  ESP_CHECK(plan.basis.empty(), unsupported, path, ": criterion ", plan.basis,
            " turned the student's stream, so its channels are none of the teacher's and cannot be "
            "compared with them; leave out the terms that read states");
  return {plan.keep_layers, plan.hidden.value_or(std::vector<std::int64_t>()), {}};
}

}  // namespace

objective::Origin pair_layers(std::vector<PlannedTerm>& terms, const TrainOptions& o,
                              const checkpoint::Checkpoint& student,
                              const checkpoint::Checkpoint& teacher) {
  objective::Origin origin;
  for (PlannedTerm& t : terms) {
    if (t.term->reads != Reads::states) continue;
    const std::string option(t.term->states.layers);
    const std::vector<std::string>& given = o.of_terms.list(option);
    if (objective::needs_origin(given) && origin.layers.empty() && origin.unknown.empty())
      origin = origin_of(student, teacher);
    t.pairs = objective::layer_pairs(option, given, origin, student.dims().n_layers(),
                                     teacher.dims().n_layers());
  }
  return origin;
}

std::int64_t terms_memory(const TrainOptions& o, const arch::ModelDims& student,
                          std::int64_t teacher_hidden, std::int64_t tokens) {
  TrainOptions described = o;
  describe(described);
  std::int64_t bytes = 0;
  for (const PlannedTerm& t : planned_terms(o)) {
    if (t.term->reads != Reads::states) continue;
    const std::size_t given = described.of_terms.list(std::string(t.term->states.layers)).size();
    bytes += objective::states_bytes(
        t, {student.hidden, teacher_hidden > 0 ? teacher_hidden : student.hidden},
        given > 0 ? static_cast<std::int64_t>(given) : student.n_layers(), tokens);
  }
  return bytes;
}

}  // namespace espalier::distill
