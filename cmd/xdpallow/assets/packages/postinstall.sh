#!/bin/sh
# Runs after the files of xdpallow are there: dpkg calls it with "configure", rpm with the
# number of installed versions. It starts nothing that did not run, for a gate that its
# operator has not yet configured would shut out his customers.
set -e

case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers xdpallow.conf
else
	for group in xdpallow xdpallow-admin xdpallow-enrol; do
		getent group $group >/dev/null || groupadd --system $group
	done
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart xdpallow-enrol.service || true
	if systemctl is-active --quiet xdpallow.service; then
		# The new daemon adopts what is attached, so nothing opens. Services that
		# require the gate must not be restarted with it.
		systemctl restart --job-mode=ignore-dependencies xdpallow.service || {
			echo "xdpallow: the new version did not start; the kernel goes on with the last list." >&2
			echo "xdpallow: look: journalctl -u xdpallow -n 20" >&2
		}
		exit 0
	fi
fi
case "$1:$2" in
configure: | 1:*)
	echo "xdpallow: nothing is guarded yet. Edit /etc/xdpallow/config.yaml, then: systemctl enable --now xdpallow"
	;;
esac
