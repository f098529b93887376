// SPDX-License-Identifier: Apache-2.0
// The template language: small templates before jinja2 (scripts/golden/template.py), and what a
// hostile template cannot do.
#include "text/template/template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "runtime/expect_error.h"
#include "text/template/from_json.h"

namespace espalier::text::jinja {
namespace {

using support::expect_error;
using Json = nlohmann::ordered_json;

std::string render(const std::string& source, const Options& options = {}) {
  return Template(source, "m.gguf").render({}, options);
}

void expect_refused(const std::string& source, std::vector<std::string> parts,
                    const Options& options = {}) {
  parts.emplace_back("m.gguf");
  expect_error([&] { render(source, options); }, core::ErrorKind::unsupported, parts);
}

TEST(Template, AsJinja2) {
  const Json golden = Json::parse(
      core::read_text_file(std::string(ESPALIER_SOURCE_DIR) + "/tests/golden/template.json"));
  Variables variables;
  for (const auto& [name, value] : golden.at("variables").items())
    variables.emplace_back(name, from_json(value, name));
  int equal = 0, refused = 0;
  for (const Json& item : golden.at("cases")) {
    const auto source = item.at(0).get<std::string>();
    SCOPED_TRACE(source);
    try {
      const std::string text = Template(source, "m.gguf").render(variables);
      ASSERT_FALSE(item.at(1).is_null()) << "jinja2 refuses it, we write " << text;
      EXPECT_EQ(text, item.at(1).get<std::string>());
      ++equal;
    } catch (const core::Error& error) {
      EXPECT_TRUE(item.at(1).is_null()) << error.what();
      EXPECT_EQ(error.kind(), core::ErrorKind::unsupported);
      ++refused;
    }
  }
  EXPECT_EQ(equal, 121);
  EXPECT_EQ(refused, 56);
}

TEST(Template, NamesTheLineAndTheConstruct) {
  expect_refused("a\n{% do x %}", {"line 2", "{% do %}"});
  expect_refused("{% for x in y recursive %}{% endfor %}", {"line 1", "recursive"});
  expect_refused("\n\n{{ x|nope }}", {"line 3", "no filter named 'nope'"});
  expect_refused("{{ [1]|groupby('a') }}", {"line 1", "'groupby' is not supported"});
  expect_refused("{% if a %}", {"expected {% endif %}", "the end of the template"});
  expect_refused("\n{{ x.y }}", {"line 2", "'x' is undefined"});
  expect_refused("{{ 'a'.encode() }}", {"str.encode"});
  expect_refused("{{ 9223372036854775807 + 1 }}", {"64 bits"});
  expect_refused("{{ raise_exception('no ' ~ 1) }}", {"refuses this conversation", "no 1"});
  expect_refused("{% include 'x' %}", {"{% include %}"});
}

TEST(Template, TheTimeIsGiven) {
  Options options;
  options.now.tm_year = 124;
  options.now.tm_mon = 6;
  options.now.tm_mday = 26;
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y|%%z|%z') }}", options), "26 Jul 2024|%z|");
}

TEST(Template, IsBounded) {
  expect_refused("{{ " + std::string(100000, '('), {"200 levels"});
  std::string sum = "{{ 1";
  for (int i = 0; i < 1000; ++i) sum += " + 1";
  expect_refused(sum + " }}", {"500"});
  expect_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {"recurses"});
  for (const char* huge :
       {"'x' * 10000000000", "'x' * 9223372036854775807", "'x'.center(999999999)",
        "'x'|indent(999999999, true)", "[1]|batch(999999999, 2)|list"})
    expect_refused("{{ " + std::string(huge) + " }}", {"bytes"});
  expect_refused("{{ range(100001) }}", {"100000"});
  expect_refused("{{ ('%9999999d' % 1) }}", {"10000"});
  const std::string grow = "{% set n = namespace(x=[1]) %}{% for i in range(200) %}{% set n.x = ";
  expect_refused(grow + "[n.x] %}{% endfor %}", {"100 levels"});
  expect_refused(grow + "[n.x, n.x] %}{% endfor %}", {"64 MiB"});

  Options few;
  few.steps = 100;
  expect_refused("{% for i in range(99) %}{{ i }}{% endfor %}", {"100 steps"}, few);
  expect_refused("{% for i in range(101) %}{% endfor %}", {"100 steps"}, few);
  Options small;
  small.memory = 1 << 20;
  for (const char* held :
       {"[namespace(x='a' * 90000)] %}{% endfor %}", "['a' * 90000 + i|string] %}{% endfor %}"})
    expect_refused("{% set n = namespace(x=[]) %}{% for i in range(20) %}{% set n.x = n.x + " +
                       std::string(held),
                   {"holds more than 1048576 bytes"}, small);
  expect_refused("{% for i in range(20) %}{{ 'a' * 90000 }}{% endfor %}", {"holds more than"},
                 small);
  expect_refused("{{ ([1] * 1000)|tojson(indent=2000) }}", {"holds more than"}, small);
  expect_refused("{{ ('a' * 9000)|list }}", {"holds more than"}, small);
  Options lazy;
  lazy.work = 1 << 20;
  expect_refused("{% for i in range(99) %}{% set x = 'a' * 20000 %}{% endfor %}",
                 {"more than 1048576 bytes"}, lazy);
}

// A namespace may hold itself, a loop or a macro beyond their time.
TEST(Template, NothingOutlivesItsOwner) {
  EXPECT_EQ(render("{% set n = namespace() %}{% set n.a = n %}{{ n.a.a is defined }}"), "True");
  EXPECT_EQ(render("{% set n = namespace() %}{% for x in [1, 2] %}{% set n.l = loop %}{% endfor %}"
                   "{{ n.l.length }}"),
            "2");
  EXPECT_EQ(render("{% for x in [1, 2] %}{{ loop }}{% endfor %}"),
            "<LoopContext 1/2><LoopContext 2/2>");
  expect_refused(
      "{% set n = namespace() %}{% for x in [1] %}{% macro m() %}{{ x }}{% endmacro %}"
      "{% set n.m = m %}{% endfor %}{{ n.m() }}",
      {"'m'", "outside"});
  expect_refused("{% for x in [1] %}{{ loop.changed(loop) }}{% endfor %}", {"loop.changed"});
}

}  // namespace
}  // namespace espalier::text::jinja
