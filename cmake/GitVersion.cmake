# SPDX-License-Identifier: Apache-2.0
# cmake -D GIT=... -D SOURCE=... -D OUTPUT=... -P GitVersion.cmake: writes the .cpp that defines version::description(), and touches it only
# when its text changes. Sources that are not a git repository of their own (a release archive, also one unpacked inside another project's
# repository) have an empty description.
set(description "")
if(GIT AND EXISTS ${SOURCE}/.git)
  set(ENV{GIT_OPTIONAL_LOCKS} 0)  # --dirty would refresh the index, which another git command may be writing
  execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty OUTPUT_VARIABLE said RESULT_VARIABLE failed ERROR_QUIET
                  OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(failed EQUAL 0 AND said MATCHES "^[A-Za-z0-9._/+-]+$")
    set(description ${said})
  endif()
endif()
set(text "// Written by the build.\n#include \"version/version.h\"\n
namespace espalier::version {\n
const char* description() { return \"${description}\"; }\n
}  // namespace espalier::version\n")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT text STREQUAL before)
  file(WRITE ${OUTPUT} "${text}")
endif()
