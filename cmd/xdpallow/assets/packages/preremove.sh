#!/bin/sh
# Runs before the files of xdpallow go: dpkg calls it with "remove" or "upgrade", rpm with
# the number of versions that stay. An upgrade must not open the gate; a removal must,
# because nobody could open it, or change its list, afterwards.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

status=0
said=$(xdpallow detach --yes --reason "the package is removed" 2>&1) || status=$?
[ $status = 3 ] || echo "$said" >&2 # there was no gate: nothing to tell
case $status in
0) echo "xdpallow: the gate is open: every source may connect." >&2 ;;
3) ;;
*)
	echo "xdpallow: the gate could not be opened, so the package stays: xdpallow status" >&2
	exit 1
	;;
esac

if [ -d /run/systemd/system ]; then
	systemctl disable --now xdpallow.service xdpallow-enrol.service || true
fi
