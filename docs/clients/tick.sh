#!/bin/sh
# One tick: have the webcams of a JSON file scored, print the answer.
#
#   AFTERGLOW_URL=http://127.0.0.1:8000 AFTERGLOW_KEY=ag_... tick.sh webcams.json
#
# webcams.json is {"webcams": [{"webcam": "1179853135", "phase": "sunset", "url": "https://..."}, ...]}.
# Ends with 0 when every webcam was dealt with, 1 when something at the server kept some from being scored (the answer
# says what), and with curl's own code when there was no answer or the request was refused.
set -eu

: "${AFTERGLOW_URL:?is not set: the address of the server, e.g. http://127.0.0.1:8000}"
: "${AFTERGLOW_KEY:?is not set: a key of afterglow keys create --scopes score,ingest}"
[ $# -eq 1 ] || { echo "usage: tick.sh webcams.json" >&2; exit 2; }

# The key goes in by stdin: whoever lists processes sees their arguments. 60 s are the tick's 50 and a little.
answer=$(
    printf 'header = "Authorization: Bearer %s"\n' "$AFTERGLOW_KEY" |
        curl --config - --silent --show-error --fail-with-body --max-time 60 \
            --header 'Content-Type: application/json' --data-binary "@$1" "$AFTERGLOW_URL/v1/webcams/score"
) || { code=$?; printf '%s\n' "$answer" >&2; exit "$code"; }

printf '%s\n' "$answer"
case $answer in
    '{"ok":true,'*) ;;
    *) exit 1 ;;
esac
