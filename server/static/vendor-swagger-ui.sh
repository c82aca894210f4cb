#!/bin/sh
# Rebuilds server/static/swagger-ui/ from the npm package. The checksum is the one of the package that was read:
# a new version is a new number and a new checksum here, and a run of tests/live/test_swagger.py.
set -eu
VERSION=5.35.0
SHA512=534eaba4cb56f55dd73c638179a993512af4674f63317e0826e00da44fc465b021c341bc0a0c2bcd4e18997927fe1d3008336c5dd19aad334d1c2dec53cc9551

cd "$(dirname "$0")/swagger-ui"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" "swagger-ui-dist@$VERSION" >/dev/null
echo "$SHA512  $work/swagger-ui-dist-$VERSION.tgz" | sha512sum --check --quiet
tar -xzf "$work/swagger-ui-dist-$VERSION.tgz" --strip-components=1 --no-same-owner -m \
    package/swagger-ui-bundle.js package/swagger-ui-bundle.js.LICENSE.txt package/swagger-ui.css \
    package/LICENSE package/NOTICE
echo "$VERSION" >VERSION
