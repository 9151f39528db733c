#!/bin/sh
# Makes what compose.yml mounts: Redis' users, the URL of each role, Grafana's password.
# Run as root on the server, once .env is there and the image is built. Run again, it keeps what is
# there; delete the URL file of a role first, and that role gets a new password.
set -eu
cd "$(dirname "$0")"
# shellcheck source=env.example
. ./.env

as=10001 # the user of the image
install -d -m 700 -o "$as" -g "$as" secrets
docker run --rm --user "$as:$as" --volume "$PWD/secrets:/secrets" "$ROUGHNECK_IMAGE" \
    --redis redis://redis:6379/0 acl /secrets

umask 077
# The worker at home reaches the same Redis through the VPN.
sed "s|@redis:|@$WIREGUARD_ADDRESS:|" secrets/worker.url > secrets/home-worker.url
if [ ! -s secrets/grafana.password ]; then
    head -c 24 /dev/urandom | base64 > secrets/grafana.password
fi
chmod 644 secrets/grafana.password # Grafana has a user of its own; the folder keeps others out
echo "secrets/ is complete. Give secrets/home-worker.url to the machine at home."
