// SPDX-License-Identifier: Apache-2.0
// Descriptors 0 to 2 and signals of both programs. Results go to standard output through
// write_result() alone: whatever cannot be written there ends the program with a failing exit code.
#pragma once
#include <string_view>

namespace espalier::tool {

// Nobody reads standard output any more.
struct BrokenPipe {};

// Call it before anything opens a file. A descriptor that the caller has closed becomes /dev/null:
// else the next file opened would take its number, and progress would be written into that file.
// A reader that goes away does not kill the program where it stands: write_result() throws, and
// temporary files are removed. A mapped file that becomes shorter ends the program with a message
// and the exit code of bad input. False when there is no /dev/null.
bool prepare_streams();

// Standard output, all of it and at once. Error(input) when the system refuses it; BrokenPipe when
// nobody reads it.
void write_result(std::string_view text);
// What the system says of the written bytes only when the file is closed (disk quotas, network
// file systems). Error(input).
void finish_results();

// The exit status of a program that SIGPIPE ended, as other Unix tools have it. Returns only where
// the caller of the program had SIGPIPE ignored.
void end_by_broken_pipe();

}  // namespace espalier::tool
