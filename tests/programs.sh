#!/usr/bin/env bash
# Chromium, pebble (a certificate authority for tests), nginx and HAProxy, which come from the system: installs what is
# missing where that can be done, else says how. Never fails: tests whose program is not there are skipped and say so.
set -uo pipefail

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
