#!/bin/sh
# Installs Chromium, and a font with Chinese, for tests/browser where it is missing and can be installed. Run by `make tests`; never a reason to fail.
command -v chromium-headless-shell >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-wqy-zenhei; } >/dev/null 2>&1 && exit 0
fi
# Wherever Chromium is there with its windows alone, the tests take that.
command -v chromium >/dev/null && exit 0
echo "There is no Chromium and it could not be installed: the tests of the console will be skipped." >&2
