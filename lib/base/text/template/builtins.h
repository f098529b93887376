// SPDX-License-Identifier: Apache-2.0
// What a template can use without defining it: filters, tests, methods of values, functions.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "text/template/arguments.h"
#include "text/template/interpreter.h"

namespace espalier::text::jinja {

struct Filter {
  const char* name;
  Value (*apply)(Interpreter& run, const Value& value, const Arguments& arguments);
};
// filters_text.cpp, filters_sequence.cpp, filters_select.cpp
std::span<const Filter> text_filters();
std::span<const Filter> sequence_filters();
std::span<const Filter> select_filters();

// Whether jinja2 has it; a few of these are refused when they are used.
bool is_filter(std::string_view name);
bool is_test(std::string_view name);
Value apply_filter(Interpreter& run, const std::string& name, const Value& value,
                   const Arguments& arguments);
bool apply_test(Interpreter& run, const std::string& name, const Value& value,
                const Arguments& arguments);

// Whether Python's type has it, and whether the sandbox lets a template use it.
enum class Access { none, allowed, forbidden };
Access method_access(const Value& self, std::string_view name);
Value call_method(Interpreter& run, const Value& self, const std::string& name,
                  const Arguments& arguments);
Value call_text_method(Interpreter& run, const Value& self, const std::string& name,
                       const Arguments& arguments);
bool is_text_method(std::string_view name);

bool is_function(std::string_view name);
Value call_function(Interpreter& run, const std::string& name, const Arguments& arguments);

// '%' and str.format().
std::string format_percent(Interpreter& run, std::string_view format, const Value& values);
std::string format_braces(Interpreter& run, std::string_view format, const Arguments& arguments);

// transformers' tojson.
std::string to_json(Interpreter& run, const Value& value, const Arguments& arguments);

}  // namespace espalier::text::jinja
