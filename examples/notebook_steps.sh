#!/usr/bin/env bash
# Several steps in one session with curl, and a plot as PNG bytes.
#
#   examples/notebook_steps.sh [http://127.0.0.1:8000] [plot.png]
set -euo pipefail
URL=${1:-http://127.0.0.1:8000}
PNG=${2:-}
ID=

# step CODE: runs it in the session of $ID, or in a new one, and leaves the answer in $ANSWER.
step() {
    local body
    body=$(python3 -c 'import json, sys; print(json.dumps({"code": sys.argv[1], "id": sys.argv[2] or None, "timeout": 30}))' "$1" "$ID")
    ANSWER=$(curl --silent --show-error --fail-with-body "$URL/execute" -H 'Content-Type: application/json' -d "$body")
    ID=$(field id)
    if [ "$(field error)" != None ]; then
        echo "$(field error): $(field detail)" >&2
        return 1
    fi
}

# field NAME: one value of $ANSWER.
field() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" <<<"$ANSWER"
}

step 'import numpy as np
x = np.linspace(0, 2 * np.pi, 200)'
trap 'curl --silent --request DELETE "$URL/sessions/$ID" >/dev/null' EXIT

step 'y = sum(np.sin(n * x) / n for n in (1, 3, 5))
round(float(y.max()), 3)'
echo "the highest point is $(field result)"

step 'import base64, io
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot(x, y)
file = io.BytesIO()
figure.savefig(file, format="png")
print(base64.b64encode(file.getvalue()).decode())'
[ -z "$PNG" ] || field stdout | base64 --decode >"$PNG"
echo "the plot has $(field stdout | base64 --decode | wc -c) bytes"

step '1 / 0'
echo "an exception is no error: $(field stderr | grep Error)"

step 'import os; os._exit(3)' || echo "the session is $(field state)"
step 'x' || echo "and its id is of no use any more"
