#!/usr/bin/env bash
# Installs the worker of the pool `edge` on a board, as a systemd service. Run it again to update.
#   sudo ./install.sh --package bevformer_axera-0.1.0-py3-none-any.whl --axengine axengine-0.1.3-py3-none-any.whl
#   sudo ./install.sh --remove
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: install.sh --package FILE --axengine FILE [--root DIR] [--python COMMAND]
       install.sh --remove
  --package   wheel of this product, or its source folder
  --axengine  wheel of AXEngine, from https://github.com/AXERA-TECH/pyaxengine/releases
  --root      install below this folder and start nothing: for a board's image, made on a machine with the board's CPU
              and the board's Python at the same path
  --python    Python 3.10 or later; python3 by default
  --remove    stop the worker and remove it; settings and what it fetched stay
TEXT
}

fail() {
  echo "install.sh: $1" >&2
  exit 1
}

remove() {
  [ "$(id --user)" -eq 0 ] || fail "needs root to write to /opt and /etc; run it with sudo"
  systemctl disable --now bevformer-worker.service || true
  rm --recursive --force /opt/bevformer /etc/systemd/system/bevformer-worker.service \
    /etc/udev/rules.d/70-bevformer-npu.rules
  systemctl daemon-reload
  udevadm control --reload && udevadm trigger
  cat <<'TEXT'
removed; its settings with their credentials, what it fetched, its user and its group are left; to remove them too, as root:
  rm --recursive --force /etc/bevformer /var/lib/bevformer
  userdel bevformer && groupdel bevformer-npu
TEXT
}

package="" axengine="" root="" python="python3"
while [ $# -gt 0 ]; do
  case "$1" in
    --help) usage; exit 0 ;;
    --remove) remove; exit 0 ;;
    --package | --axengine | --root | --python)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      case "$1" in
        --package) package=$2 ;;
        --axengine) axengine=$2 ;;
        --root) root=${2%/} ;;
        --python) python=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2; exit 2 ;;
  esac
done
if [ -z "$package" ] || [ -z "$axengine" ]; then
  usage >&2
  exit 2
fi
[ -e "$package" ] || fail "$package does not exist; give the wheel or the source folder of this product"
[ -f "$axengine" ] || fail "$axengine does not exist; get it from https://github.com/AXERA-TECH/pyaxengine/releases"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
  || fail "$python is not Python 3.10 or later; name another one with --python"
[ -n "$root" ] || [ "$(id --user)" -eq 0 ] || fail "needs root to write to /opt and /etc; run it with sudo"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -n "$root" ]; then
  mkdir --parents "$root"
  root=$(cd "$root" && pwd)
fi
home="$root/opt/bevformer"
"$python" -m venv "$home"
"$home/bin/python" -m pip install --upgrade "${package}[edge]" "$axengine"
# For pip a wheel of the version that is installed is no upgrade, whatever is in it.
"$home/bin/python" -m pip install --force-reinstall --no-deps "$package" "$axengine"
if [ -n "$root" ]; then
  # Scripts name their interpreter by the path that it has here.
  { grep --null --files-with-matches --binary-files=without-match --fixed-strings "$home" "$home"/bin/* "$home/pyvenv.cfg" \
    || true; } | xargs --null --no-run-if-empty sed --in-place "s|$home|/opt/bevformer|g"
fi

install -D --mode=0644 "$here/bevformer-worker.service" "$root/etc/systemd/system/bevformer-worker.service"
settings="$root/etc/bevformer/worker.env"
if [ ! -e "$settings" ]; then
  # Holds credentials: systemd reads it as root, nobody else has to.
  install -d --mode=0755 "$root/etc/bevformer"
  (umask 077 && cat >"$settings" <<'TEXT'
# Where Prefect's server is, and how to log in to it.
PREFECT_API_URL=http://SERVER:4200/api
PREFECT_API_AUTH_STRING=
# The store: endpoint and credentials; leave the endpoint out for AWS.
AWS_ENDPOINT_URL_S3=http://SERVER:9000
AWS_ACCESS_KEY_ID=
AWS_SECRET_ACCESS_KEY=
AWS_DEFAULT_REGION=us-east-1
# Token of the hub, for private scenes; may stay empty.
HF_TOKEN=
# What the board's disk may give to what was fetched from the store, GB. Files of the hub lie apart, without a limit
# (docs/infra.md).
BEVFORMER_CACHE_GB=4
TEXT
  )
fi

# The vendor's driver leaves its devices to root; udev gives them to the group at every start. The names may be the board's.
rules="$root/etc/udev/rules.d/70-bevformer-npu.rules"
if [ ! -e "$rules" ]; then
  install -d --mode=0755 "$(dirname "$rules")"
  echo 'KERNEL=="ax_*|ax[0-9]*", GROUP="bevformer-npu", MODE="0660"' >"$rules"
fi

# As the worker will run: its user, its groups and its settings, which only systemd reads as systemd does.
doctor="systemd-run --pipe --wait --collect --property=User=bevformer --property=SupplementaryGroups=bevformer-npu"
doctor+=" --property=EnvironmentFile=/etc/bevformer/worker.env --setenv=BEVFORMER_CACHE=/var/lib/bevformer/cache"
doctor+=" --setenv=HF_HOME=/var/lib/bevformer/hub /opt/bevformer/bin/bevformer doctor --role edge"
new_group="groupadd --system bevformer-npu"
new_user="useradd --system --user-group --home-dir /var/lib/bevformer --shell /usr/sbin/nologin bevformer"

if [ -n "$root" ]; then
  cat <<TEXT
installed below $root; on the board, as root:
  $new_group
  $new_user
  udevadm control --reload && udevadm trigger
fill in /etc/bevformer/worker.env, check it, and start the worker:
  $doctor
  systemctl enable --now bevformer-worker
TEXT
  exit 0
fi

getent group bevformer-npu >/dev/null || $new_group
id bevformer >/dev/null 2>&1 || $new_user
udevadm control --reload && udevadm trigger
systemctl daemon-reload
systemctl enable bevformer-worker.service
if grep --quiet 'SERVER' "$settings"; then
  cat <<TEXT
now fill in $settings, check it, and start the worker, as root:
  $doctor
  systemctl restart bevformer-worker
TEXT
else
  systemctl restart bevformer-worker.service
fi
