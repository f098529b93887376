// SPDX-License-Identifier: Apache-2.0
// Notes: what a user must know about a result although nothing failed. Examples are a file that was
// read differently than it says, or an input that was not used.
//
// Libraries leave notes and never print. A program prints each note when it is left, and adds all
// notes to its JSON output. Thread-safe.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace espalier::core {

// Leaves a note: one line without a full stop. Repetitions of a text are kept once.
void note(const std::string& text);
// All notes of this process, in order.
std::vector<std::string> notes();
// Calls `hear` with each note from now on. An empty function stops that.
void hear_notes(std::function<void(const std::string& text)> hear);

}  // namespace espalier::core
