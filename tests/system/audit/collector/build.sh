#!/usr/bin/env bash
# Builds the OpenTelemetry Collector of the tests from public Go modules into .venv, unless it is there. Never fails:
# tests without it are skipped, with the reason.
set -uo pipefail
cd "$(dirname "$0")"
program=$PWD/../../../../.venv/bin/otel-collector

[ ! -x "$program" ] || exit 0
if ! command -v go >/dev/null; then
  echo "Not here: Go. Tests with an OpenTelemetry Collector are skipped; put go on PATH." >&2
  exit 0
fi
echo "Building an OpenTelemetry Collector; about three minutes ..."
timeout 900 go build -trimpath -ldflags="-s -w" -o "$program" . >/dev/null 2>&1 \
  || echo "Go could not build the OpenTelemetry Collector; tests that need it are skipped." >&2
exit 0
