#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks commit messages: a subject of at most 72 columns without a period at its end, an empty line, and a body that says why, in lines of at
# most 80 columns (only a line that is one word, such as a link, may be longer). Merges, reverts and fixups as git writes them are let through.
# usage: scripts/check_commits.sh --message FILE      one message, as git's hook commit-msg calls it
#        scripts/check_commits.sh REVISIONS           e.g. main..
# As a hook: ln -s ../../scripts/commit-msg .git/hooks/commit-msg
set -euo pipefail

check() {  # name of the commit; the message comes on standard input
  awk -v name="$1" '
    function fault(text) { printf "%s: %s\n", name, text; bad = 1 }
    /^# -+ >8 -+$/ { exit }
    /^#/ { next }
    { line[++n] = $0 }
    END {
      while (n > 0 && line[n] ~ /^[ \t]*$/) n--
      subject = line[1]
      if (subject ~ /^(Merge|Revert|fixup!|squash!|amend!) ?/) exit 0
      if (n == 0) fault("the message is empty")
      if (length(subject) > 72) fault("the subject has " length(subject) " columns, at most 72: " subject)
      if (subject ~ /\.$/) fault("the subject ends with a period: " subject)
      if (n > 1 && line[2] != "") fault("the line after the subject must be empty: " subject)
      words = 0
      for (i = 3; i <= n; i++) {
        if (line[i] !~ /^[A-Z][A-Za-z-]+: /) words += split(line[i], unused, " ")
        if (length(line[i]) > 80 && line[i] ~ /[^ ] +[^ ]/) fault("line " i " has " length(line[i]) " columns, at most 80: " line[i])
      }
      if (words < 4) fault("the body that says why is missing: " subject)
      exit bad
    }'
}

status=0
if [ "${1:-}" = --message ] && [ $# = 2 ]; then
  check message <"$2" || status=1
elif [ $# = 1 ] && [ "${1#-}" = "$1" ]; then
  commits=$(git rev-list --no-merges "$1")
  for commit in $commits; do
    git log -1 --format=%B "$commit" | check "${commit:0:10}" || status=1
  done
else
  sed -n '5,7s/^# //p' "$0" >&2
  exit 2
fi
exit $status
