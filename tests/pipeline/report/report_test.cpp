// SPDX-License-Identifier: Apache-2.0
// The page needs no network, says what fails, and no text can break out of it.
#include "report/report.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace espalier::report {
namespace {

using Json = nlohmann::ordered_json;

Json sample() {
  Json card{{"file", "student.gguf"},
            {"sha256", "ab12"},
            {"file_bytes", 61'000'000},
            {"teacher_file_bytes", 98'000'000},
            {"parameters", 95'000'000},
            {"teacher_parameters", 134'000'000},
            {"parameters_ratio", 0.7},
            {"perplexity", 18.0},
            {"perplexity_ratio", 1.1},
            {"teacher_perplexity", 16.3},
            {"kl_mean", 0.2},
            {"same_top1", 0.8},
            {"passed", true}};
  card["parity"] = {{"leg_a_relative_error", 1e-6},
                    {"leg_a_tolerance", 1e-4},
                    {"leg_b_relative_error", 0.01},
                    {"leg_b_tolerance", 0.09}};
  card["gates"] = Json::array(
      {{{"gate", "perplexity_ratio_max"}, {"limit", 1.12}, {"value", 1.1}, {"passed", true}}});
  card["baselines"] = Json::array({{{"name", "pruned"},
                                    {"parameters", 95'000'000},
                                    {"file_bytes", 380'000'000},
                                    {"perplexity", 37.0},
                                    {"kl_mean", 1.0},
                                    {"beaten", true}}});
  return {{"title", "A </script><b>title"},
          {"card", card},
          {"loss",
           Json::array({{{"step", 1}, {"tokens", 2048}, {"loss", 3.0}, {"kl", 1.0}, {"ce", 3.5}}})},
          {"recipe", "name: <x>\n"}};
}

TEST(Report, IsSelfContained) {
  const std::string page = report_html(sample());
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("<link"), std::string::npos);
  EXPECT_NE(page.find("new Chart("), std::string::npos);
  EXPECT_NE(page.find("18.00"), std::string::npos);
}

TEST(Report, TextCannotBreakOut) {
  const std::string page = report_html(sample());
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  EXPECT_EQ(page.find("name: <x>"),
            page.rfind("name: <x>"));  // only inside the embedded data, where it is JSON
  EXPECT_NE(page.find("name: &lt;x&gt;"), std::string::npos);
}

TEST(Report, TheLossChartHasACurveForEveryTerm) {
  Json data = sample();
  EXPECT_NE(report_html(data).find(
                R"("curves":[["loss","loss"],["kl","KL to the teacher"],["ce","cross-entropy"]])"),
            std::string::npos);
  data["loss"] = Json::array({{{"step", 1},
                               {"tokens", 2048},
                               {"loss", 3.0},
                               {"skew_kl", 1.0},
                               {"hidden_mse", 0.5},
                               {"learning_rate", 0.1},
                               {"grad_norm", 2.0},
                               {"tokens_per_second", 9.0}}});
  const std::string page = report_html(data);
  EXPECT_NE(
      page.find(R"("curves":[["loss","loss"],["skew_kl","skew_kl"],["hidden_mse","hidden_mse"]])"),
      std::string::npos);
  EXPECT_NE(page.find("data.curves.map(line)"), std::string::npos);
}

TEST(Report, SaysPlainlyWhatFailed) {
  Json data = sample();
  data["card"]["passed"] = false;
  data["card"]["gates"][0]["passed"] = false;
  data["card"]["baselines"][0]["beaten"] = false;
  const std::string page = report_html(data);
  EXPECT_NE(page.find("1 of 1 gates failed"), std::string::npos);
  EXPECT_NE(page.find("FAILED"), std::string::npos);
  EXPECT_NE(page.find("NOT beaten"), std::string::npos);
}

// The text of every verdict with its class: what a reader sees first.
std::vector<std::pair<std::string, std::string>> verdicts(const std::string& page) {
  std::vector<std::pair<std::string, std::string>> out;
  const std::string open = "<div class=\"verdict";
  for (std::size_t at = page.find(open); at != std::string::npos; at = page.find(open, at + 1)) {
    const std::size_t from = at + open.size(), mark = page.find("\">", from);
    out.emplace_back(page.substr(from, mark - from),
                     page.substr(mark + 2, page.find("</div>", mark) - mark - 2));
  }
  return out;
}

TEST(Report, AFileWithoutGatesIsNotOneThatPassedThem) {
  using Verdicts = std::vector<std::pair<std::string, std::string>>;
  Json data = sample();
  const std::string parity = "Parity passed: file, reference and kernels agree.";
  EXPECT_EQ(verdicts(report_html(data)), (Verdicts{{"", "All 1 gates passed."}, {"", parity}}));
  data["card"]["gates"] = Json::array();
  const std::string page = report_html(data);
  EXPECT_EQ(verdicts(page), (Verdicts{{" none", "No gates set: nothing was required of this file."},
                                      {"", parity}}));
  EXPECT_NE(page.find(".verdict.none{background:var(--unasked)}"), std::string::npos);
  EXPECT_NE(page.find("parity A: "), std::string::npos);  // parity is shown without gates too
}

TEST(Report, NumbersAreForPeople) {
  Json data = sample();
  data["card"]["teacher_parameters"] = 1'200'000'000;
  data["card"]["gates"].push_back(
      {{"gate", "file_bytes_max"}, {"limit", 60'000'000}, {"value", 61e6}, {"passed", false}});
  data["stages"] = Json::array({{{"name", "distilled"},
                                 {"kind", "distill"},
                                 {"status", "done"},
                                 {"metrics",
                                  {{"tokens", 92'000'000},
                                   {"file_bytes", 61'000'000},
                                   {"loss_last", 2.3145678},
                                   {"passed", true},
                                   {"seconds", 7512.25}}}}});
  const std::string page = report_html(data), shown = page.substr(0, page.find("<script"));
  for (const char* text :
       {"<b>61.0 MB</b>", "teacher: 98.0 MB", "<b>95.0M</b>", "<td>1.2G", "<th>time",
        "<td>file_bytes_max<td>60.0 MB<td>61.0 MB<td", "<td>2h05m<td",
        "tokens 92.0M, file 61.0 MB, loss last 2.3146, passed true"})
    EXPECT_NE(shown.find(text), std::string::npos) << text << "\n" << shown;
  for (const char* text : {"92000000", "60000000", "7512"}) {
    EXPECT_EQ(shown.find(text), std::string::npos) << text;
    EXPECT_NE(page.find(text), std::string::npos) << text << ": exact in the data";
  }
}

TEST(Report, ParityThatFailsIsStatedApartFromGatesThatPass) {
  Json data = sample();
  data["card"]["passed"] = false;
  data["card"]["parity"]["leg_b_relative_error"] = 0.5;
  const auto shown = verdicts(report_html(data));
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[0].second, "All 1 gates passed.");
  EXPECT_EQ(shown[1],
            (std::pair<std::string, std::string>(" bad", "Parity failed: see the table below.")));
}

}  // namespace
}  // namespace espalier::report
