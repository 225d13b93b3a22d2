#!/bin/bash
# Builds a reseller, a customer, a domain, two subscribers with numbers and a call forward with plain curl calls. The two can call at once.
# Usage: docs/rest-example.sh [https://127.0.0.1:1443/api] [LOGIN:PASSWORD]
set -euo pipefail
API=${1:-https://127.0.0.1:1443/api}
LOGIN=${2:-administrator:administrator}

# Prints the id of what was made.
make() {
    curl -sSk -u "$LOGIN" -H 'Content-Type: application/json' -D - -o /dev/stderr "$API/$1/" -d "$2" |
        tr -d '\r' | sed -n 's|^[Ll]ocation: /api/.*/||p' | grep . || { echo "cannot make $1" >&2; exit 1; }
}
put() { curl -sSkf -u "$LOGIN" -H 'Content-Type: application/json' -X PUT "$API/$1" -d "$2"; }
patch() { curl -sSkf -u "$LOGIN" -H 'Content-Type: application/json-patch+json' -X PATCH "$API/$1" -d "$2"; }
get() { curl -sSkf -u "$LOGIN" "$API/$1"; }

noc=$(make systemcontacts '{"email": "noc@alps.example"}')
contract=$(make contracts "{\"contact_id\": $noc, \"type\": \"reseller\", \"status\": \"active\", \"billing_profile_id\": 1}")
reseller=$(make resellers "{\"contract_id\": $contract, \"name\": \"alps\", \"status\": \"active\"}")
profile=$(make billingprofiles "{\"reseller_id\": $reseller, \"handle\": \"basic\", \"name\": \"Basic\"}")
contact=$(make customercontacts "{\"reseller_id\": $reseller, \"email\": \"ada@alps.example\"}")
customer=$(make customers "{\"contact_id\": $contact, \"type\": \"sipaccount\", \"status\": \"active\", \"billing_profile_id\": $profile}")
make domains "{\"domain\": \"alps.example\", \"reseller_id\": $reseller}" >/dev/null
for user in ada:1 ben:2; do
    made=$(make subscribers "{\"customer_id\": $customer, \"domain\": \"alps.example\", \"username\": \"${user%:*}\",
        \"password\": \"bR00k-mill\", \"primary_number\": {\"cc\": \"43\", \"ac\": \"5\", \"sn\": \"9900${user#*:}\"}}")
    echo "${user%:*}@alps.example has id $made and number 4359900${user#*:}"
done
put "callforwards/$made" '{"cft": {"destinations": [{"destination": "voicebox"}], "ringtimeout": 20}}'
patch "subscriberpreferences/$made" '[{"op": "add", "path": "/concurrent_max", "value": 3}]'
get "callforwards/$made"
echo
