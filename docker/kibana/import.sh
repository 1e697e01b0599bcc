#!/usr/bin/env bash
# Imports every .ndjson file in the folder of this script into the Kibana at the given address. Saved objects
# with the same id are replaced.
#   docker/kibana/import.sh http://localhost:5601
set -euo pipefail
kibana="${1:?address of Kibana, such as http://localhost:5601}"

for file in "$(dirname "$0")"/*.ndjson; do
  # Kibana answers 200 even when it refuses an import, so look at the body.
  answer="$(curl --fail-with-body --silent --show-error --retry 5 --retry-connrefused \
    --header 'kbn-xsrf: true' --form "file=@${file}" "${kibana}/api/saved_objects/_import?overwrite=true")"
  case "$answer" in
    *'"success":true'*) echo "imported $(basename "$file")" ;;
    *) echo "Kibana refused $(basename "$file"): $answer" >&2; exit 1 ;;
  esac
done
