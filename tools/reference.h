// SPDX-License-Identifier: Apache-2.0
// The reference of a program as Markdown, from its command line itself: every command, flag,
// default, JSON key and exit code. docs/reference.md is made of it.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

namespace espalier::tool {

// Says what the keys of a verb's --json mean.
void describe_json(const CLI::App& verb,
                   std::initializer_list<std::pair<const char*, const char*>> keys);
void describe_json(const CLI::App& verb, const std::string& key, const std::string& meaning);

// Adds --reference, which prints the commands of `app`, then what `more` returns.
void add_reference(CLI::App& app, const std::function<std::string()>& more = {});

// A cell of a Markdown table.
std::string cell(const std::string& text);

}  // namespace espalier::tool
