#!/bin/sh
# Gets what the browser test needs and prints where Chromium is; fails where it cannot be had.
set -eu
cd "$(dirname "$0")"

browser() {
    for name in chromium chromium-browser google-chrome; do command -v "$name" && return; done
    return 1
}

command -v npm >/dev/null || { echo 'npm was not found' >&2; exit 1; }
if ! browser >/dev/null; then
    # Debian's package; anything else the machine's owner installs.
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo 'chromium was not found' >&2; exit 1; }
    { apt-get install -y --no-install-recommends chromium ||
        { apt-get update && apt-get install -y --no-install-recommends chromium; }; } >&2
fi
[ -d node_modules ] || npm install --no-audit --no-fund --silent >&2
browser
