#!/usr/bin/env bash
# Makes sure that commands are there: hack/need.sh COMMAND=PACKAGE[,PACKAGE]...
# As root on Debian or Ubuntu it installs what is missing; elsewhere it says what to install.
set -euo pipefail

missing=()
for pair in "$@"; do
	if ! PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null 2>&1; then
		IFS=, read -ra packages <<<"${pair##*=}"
		missing+=("${packages[@]}")
	fi
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	echo "installing ${missing[*]}"
	apt-get update -qq >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	exit 0
fi
echo "error: please install: ${missing[*]} (on Debian and Ubuntu: sudo apt-get install ${missing[*]})" >&2
exit 1
