#!/bin/sh
# Rebuilds server/static/codemirror/ and server/static/katex/ from npm packages. vendor-notebook/package-lock.json has
# the version and the checksum of each, those of their dependencies and of the bundler too. For new versions change
# package.json, run `npm install --package-lock-only --omit-lockfile-registry-resolved` beside it, then this script,
# and then tests/live/test_notebook.py.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp vendor-notebook/* "$work"
(cd "$work" && npm ci --silent --ignore-scripts --omit-lockfile-registry-resolved --no-audit --no-fund)

# bundle NAME PACKAGE...: NAME/NAME.js of vendor-notebook/NAME.js, with the versions and licences of the packages in it
bundle() {
    name=$1
    "$work/node_modules/.bin/esbuild" "$work/$name.js" --bundle --format=esm --target=es2022 --minify \
        --legal-comments=none --charset=utf8 --log-level=warning --metafile="$work/$name.json" --outfile="$name/$name.js"
    (cd "$work" && node -e '
        const { inputs } = JSON.parse(require("fs").readFileSync(process.argv[1] + ".json"));
        const names = Object.keys(inputs).map((path) => path.match(/^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1]);
        for (const name of [...new Set(names)].filter(Boolean).sort()) {
            const { version, license } = require(`./node_modules/${name}/package.json`);
            const text = require("fs").readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim();
            console.log(`${name} ${version} (${license})\n\n${text}\n\n${"-".repeat(80)}\n`);
        }' "$name") >"$name/LICENSE"
}
bundle codemirror
bundle katex
sed -i 's/ *$//' codemirror/LICENSE katex/LICENSE
