// SPDX-License-Identifier: Apache-2.0
// What a user has to know about a result although nothing failed: a file that was read otherwise
// than it says, an input that was not used. Libraries leave notes and never print; a program prints
// them as they come, and adds them to what it prints as JSON. Thread-safe.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace espalier::core {

// Leaves a note: one line without a full stop. The same text is kept once.
void note(const std::string& text);
// All notes of this process, in order.
std::vector<std::string> notes();
// `hear` is called with each note from now on; empty: with none.
void hear_notes(std::function<void(const std::string& text)> hear);

}  // namespace espalier::core
