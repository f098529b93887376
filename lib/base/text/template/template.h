// SPDX-License-Identifier: Apache-2.0
// Chat templates are programs in the template language of jinja2, in the dialect that transformers
// sets up. This runs them: Template is a parsed one, and render() gives its text.
//
// The language is jinja2's without inheritance and includes, in an immutable sandbox: no value but
// a namespace changes. Added are tojson, raise_exception, strftime_now, break, continue and
// generation blocks as transformers has them. Left out, and refused by name where they are used:
// recursive loops, a few filters for HTML, numbers beyond 64 bits. Everything that jinja2 refuses
// is refused.
//
// A template comes from a file, so it is bounded: in nesting, steps, memory and output.
#pragma once
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/value.h"

namespace espalier::text::jinja {

using Variables = std::vector<std::pair<std::string, Value>>;

struct Options {
  std::tm now = {};  // what strftime_now writes
  std::uint64_t steps = 10'000'000;
  std::uint64_t work = std::uint64_t{2} << 30;      // bytes that are written or compared on the way
  std::uint64_t memory = std::uint64_t{256} << 20;  // bytes of values and text at a time
};

struct Program;

class Template {
 public:
  // Error(unsupported) naming `where`, the line and the construct that cannot be run.
  Template(std::string_view source, std::string where);
  ~Template();
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;

  // Error(unsupported) naming `where` and the line: a fault, or the template's own refusal.
  std::string render(const Variables& variables, const Options& options = {}) const;

 private:
  std::string where_;
  std::unique_ptr<const Program> program_;
};

}  // namespace espalier::text::jinja
