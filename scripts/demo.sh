#!/bin/sh
# Plays the demo (up, the default) or removes what it made (down).
set -eu
cd "$(dirname "$0")/.."
exec go run ./e2e/demo "${1:-up}"
