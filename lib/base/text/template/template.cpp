// SPDX-License-Identifier: Apache-2.0
// Turns the faults of the language into errors that name the file.
#include "text/template/template.h"

#include "core/error.h"
#include "text/template/interpreter.h"
#include "text/template/lexer.h"
#include "text/template/syntax.h"

namespace espalier::text::jinja {
namespace {

constexpr const char* kAdvice = "; the prompt can be written out for 'generate --special'";

}  // namespace

Template::Template(std::string_view source, std::string where) : where_(std::move(where)) {
  try {
    program_ = std::make_unique<const Program>(parse(source));
  } catch (const SyntaxFault& fault) {
    core::fail(core::ErrorKind::unsupported, where_, ": its chat template cannot be run (line ",
               fault.line, "): ", fault.message, kAdvice);
  } catch (const Fault& fault) {
    core::fail(core::ErrorKind::unsupported, where_,
               ": its chat template cannot be run: ", fault.what(), kAdvice);
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::render(const Variables& variables, const Options& options) const {
  Interpreter interpreter(*program_, variables, options);
  try {
    return interpreter.run();
  } catch (const Fault& fault) {
    core::fail(core::ErrorKind::unsupported, where_, ": its chat template ",
               fault.raised ? "refuses this conversation" : "fails on this conversation", " (line ",
               interpreter.line(), "): ", fault.what(), fault.raised ? "" : kAdvice);
  }
}

}  // namespace espalier::text::jinja
