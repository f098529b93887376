// SPDX-License-Identifier: Apache-2.0
// The page of a comparison: text cannot break out, what failed is said, and the page and Markdown
// have the same numbers.
#include "report/compare_page.h"

#include <gtest/gtest.h>

#include <string>

namespace espalier::report {
namespace {

using Json = nlohmann::ordered_json;

Json row_of(const std::string& scheme, double ratio, const std::string& standing) {
  Json out{{"scheme", scheme},
           {"ratio", "ffn-1024"},
           {"stage", "pruned"},
           {"seeds", 2},
           {"parameters", 94'000'000},
           {"bytes", 188'000'000},
           {"decode_tokens_per_second", nullptr},
           {"error", ""},
           {"texts", Json::object()}};
  out["texts"]["wiki"] = {{"perplexity", 20.0},   {"ratio", ratio},   {"low", ratio - 0.02},
                          {"high", ratio + 0.02}, {"kl", 0.25},       {"kl_low", 0.2},
                          {"kl_high", 0.3},       {"same_top1", 0.7}, {"standing", standing}};
  return out;
}

Json sample_comparison() {
  Json data{{"title", "A </script><b>title"}, {"command", "espalier compare a.yaml --out b"},
            {"recipe", "name: <x>\n"},        {"model", "teacher.gguf"},
            {"texts", Json::array({"wiki"})}, {"importance", Json::array()},
            {"correlation", Json::array()}};
  data["about"] = Json::array({"Windows of 512 tokens."});
  data["dense"] = {
      {"parameters", 134'000'000}, {"bytes", 268'000'000}, {"perplexity", {{"wiki", 15.0}}}};
  data["summary"] =
      Json::array({row_of("refitted", 1.34, "best"), row_of("plain", 1.94, "behind")});
  Json failed = row_of("other", 1, "");
  failed["texts"] = Json::object();
  failed["parameters"] = failed["bytes"] = nullptr;
  failed["error"] = "ended with <1>";
  data["summary"].push_back(failed);
  data["importance"].push_back({{"axis", "ffn"},
                                {"names", Json::array({"obs"})},
                                {"layers", Json::array({Json::array({0.5}), Json::array({1.0})})}});
  data["costs"] = Json::array({{{"scheme", "refitted"},
                                {"seconds", 75.0},
                                {"score_seconds", nullptr},
                                {"distill_seconds", nullptr},
                                {"peak_rss_bytes", 1'500'000'000}}});
  return data;
}

TEST(ComparePage, IsSelfContainedAndTextCannotBreakOut) {
  const std::string page = compare_html(sample_comparison());
  EXPECT_EQ(page.find("src="), std::string::npos);
  EXPECT_EQ(page.find("</script><b>"), std::string::npos);
  EXPECT_NE(page.find("name: &lt;x&gt;"), std::string::npos);
  EXPECT_NE(page.find("espalier compare a.yaml --out b"), std::string::npos);
  EXPECT_NE(page.find("new Chart("), std::string::npos);
  EXPECT_NE(page.find("prefers-color-scheme:dark"), std::string::npos);
}

TEST(ComparePage, ShowsIntervalsStandingsAndFailures) {
  const std::string page = compare_html(sample_comparison()),
                    markdown = compare_markdown(sample_comparison());
  for (const char* text : {"1.340 [1.320, 1.360] best", "1.940 [1.920, 1.960]"}) {
    EXPECT_NE(page.find(text), std::string::npos) << text;
    EXPECT_NE(markdown.find(text), std::string::npos) << text;
  }
  EXPECT_NE(page.find("ended with &lt;1&gt;"), std::string::npos);
  EXPECT_NE(markdown.find("other, ffn-1024: failed: ended with <1>"), std::string::npos);
  EXPECT_NE(page.find("1m15s"), std::string::npos);
}

TEST(ComparePage, HeatSaysItsNumberToo) {
  const std::string page = compare_html(sample_comparison());
  EXPECT_NE(page.find("--s:50%\">50"), std::string::npos);
  EXPECT_NE(page.find("--s:100%\">100"), std::string::npos);
}

TEST(ComparePage, ChartsFollowWhatIsKnown) {
  Json data = sample_comparison();
  const auto canvases = [](const std::string& page) {
    int n = 0;
    for (std::size_t at = page.find("<canvas"); at != std::string::npos;
         at = page.find("<canvas", at + 1))
      ++n;
    return n;
  };
  EXPECT_EQ(canvases(compare_html(data)), 4);  // ratio and KL against parameters and bytes
  data["summary"][0]["decode_tokens_per_second"] = 30.0;
  EXPECT_EQ(canvases(compare_html(data)), 6);
  for (Json& row : data["summary"])
    for (auto& [text, measured] : row["texts"].items()) measured["kl"] = nullptr;
  EXPECT_EQ(canvases(compare_html(data)), 3);
}

}  // namespace
}  // namespace espalier::report
