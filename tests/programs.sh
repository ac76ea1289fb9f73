#!/usr/bin/env bash
# Chromium, pebble (a certificate authority for tests), nginx, HAProxy and promtool, which come from the system: installs
# what is missing where that can be done, else prints how. Never fails: tests without their program are skipped, with
# the reason.
set -uo pipefail
cd "$(dirname "$0")/.."

# promtool alone, without the Prometheus server that its package would start: needs no root, and stays in .venv.
if ! command -v promtool >/dev/null && [ ! -x .venv/bin/promtool ]; then
  folder=$(mktemp -d)
  fetch() { (cd "$folder" && timeout 300 apt-get download -qq prometheus) >/dev/null 2>&1; }
  # A fresh machine has no list of packages; only root may fetch one.
  if command -v apt-get >/dev/null && { fetch || { apt-get update -qq >/dev/null 2>&1 && fetch; }; } \
    && dpkg-deb --extract "$folder"/prometheus_*.deb "$folder"; then
    mv "$folder/usr/bin/promtool" .venv/bin/promtool
  else
    echo "Not here: promtool. Tests of the alert rules are skipped; put promtool (part of Prometheus) on PATH." >&2
  fi
  rm -rf "$folder"
fi

missing=()
[ -n "${CHROMIUM:-}" ] || command -v chromium google-chrome >/dev/null || missing+=(chromium)
command -v pebble >/dev/null && command -v pebble-challtestsrv >/dev/null || missing+=(pebble)
for name in nginx haproxy; do  # proxies before the gateway; Debian keeps them where only root looks
  PATH="$PATH:/usr/sbin" command -v "$name" >/dev/null || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Not here: ${missing[*]}. Tests that need them are skipped." >&2
  echo "  With root, on Debian: apt-get install ${missing[*]}" >&2
  echo "  Without: unpack a Chromium anywhere and run CHROMIUM=/path/to/chrome make test; put pebble and" >&2
  echo "  pebble-challtestsrv (one Go program each) into a folder on PATH." >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing ${missing[*]} for the tests; about a minute ..."
apt-get update -qq >/dev/null || true
for name in "${missing[@]}"; do  # one by one: not every release has both
  # Chromium without any font draws empty boxes.
  [ "$name" = chromium ] && with=(fonts-dejavu-core) || with=()
  timeout 600 apt-get install -y -qq --no-install-recommends "$name" "${with[@]}" >/dev/null 2>&1 \
    || echo "apt-get could not install $name; tests that need it are skipped." >&2
done
exit 0
