// SPDX-License-Identifier: Apache-2.0
// A page about all earlier stages of a recipe.
#include "report/report.h"

#include "checkpoint/manifest.h"
#include "core/output.h"
#include "stages/stage.h"

namespace espalier::stages {
namespace {

class Report : public Stage {
 public:
  options::List options() override {
    options::List list;
    list.add("title", &title_, "title of the page").otherwise("the name of the recipe");
    return list;
  }
  std::vector<Input> inputs() const override { return {}; }
  std::vector<Output> outputs() const override { return {{Artifact::page, "report.html"}}; }
  bool deliverable() const override { return true; }
  bool uses_seed() const override { return false; }
  std::string delivers() const override { return "report.html"; }
  bool reads_records() const override { return true; }
  void predict(Forecast&) const override {}
  nlohmann::ordered_json surroundings(const Context& context) const override {
    return {{"name", context.record.at("title")}, {"recipe", context.record.at("recipe")}};
  }
  Result run(const Context& context) override {
    nlohmann::ordered_json data = context.record;
    if (!title_.empty()) data["title"] = title_;
    core::write_text_file(context.out, report::report_html(data));
    return {nlohmann::ordered_json::object(), context.out + "\n"};
  }

 private:
  std::string title_;
};

}  // namespace

extern const Kind k_report;
const Kind k_report{"report", "write a page about all earlier stages of a recipe", "",
                    make_stage<Report>, checkpoint::algorithm_version("report")};

}  // namespace espalier::stages
