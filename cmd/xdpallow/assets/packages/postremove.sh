#!/bin/sh
# Runs after the files of xdpallow are gone: dpkg calls it with "remove" or "purge", rpm
# with the number of versions that stay. Only a purge takes the state, which is the list.
set -e

case "$1" in
remove | 0 | purge)
	[ ! -d /run/systemd/system ] || systemctl daemon-reload || true
	;;
esac
if [ "$1" = purge ]; then
	rm -rf /var/lib/xdpallow
fi
