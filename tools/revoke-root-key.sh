#!/usr/bin/env bash
# Revokes a leaked root key of a deployment: rotates it and removes the label `AWSPREVIOUS` from the old version, so that
# there is no overlap. Builds and deploys nothing. Usage: tools/revoke-root-key.sh [STACK]   (default: onerun)
# Needs the AWS CLI, and the rights cloudformation:DescribeStacks and secretsmanager:DescribeSecret,
# ListSecretVersionIds, RotateSecret and UpdateSecretVersionStage.
set -euo pipefail

fail() {
    echo "revoke-root-key: $*" >&2
    exit 1
}

[ $# -le 1 ] || fail "usage: tools/revoke-root-key.sh [STACK]"
stack=${1:-onerun}

output() {
    aws cloudformation describe-stacks --stack-name "$stack" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue" --output text
}

# The version of the secret that has a label; `None` if there is none.
version() {
    aws secretsmanager list-secret-version-ids --secret-id "$secret" --output text \
        --query "Versions[?VersionStages && contains(VersionStages, '$1')].VersionId | [0]"
}

secret=$(output SecretArn)
[ -n "$secret" ] && [ "$secret" != None ] || fail "the stack $stack has no output SecretArn"
old=$(version AWSCURRENT)
echo "revoke-root-key: rotating, from version $old"
schedule=$(aws secretsmanager describe-secret --secret-id "$secret" --query RotationEnabled --output text)
if [ "$schedule" = True ]; then
    new=$(aws secretsmanager rotate-secret --secret-id "$secret" --query VersionId --output text)
else
    # This stack has no scheduled rotation. Naming the function turns the schedule on; it is turned off again below.
    new=$(aws secretsmanager rotate-secret --secret-id "$secret" --query VersionId --output text \
        --rotation-lambda-arn "$(output RotateSecretFunctionArn)" --rotation-rules AutomaticallyAfterDays=30)
fi
until [ "$(version AWSCURRENT)" = "$new" ]; do
    [ $SECONDS -lt 300 ] ||
        fail "the new key is not in force after five minutes, and the old key still works: see the alarm RotationAlarm"
    sleep 2
done
previous=$(version AWSPREVIOUS)
if [ "$previous" != None ]; then
    aws secretsmanager update-secret-version-stage --secret-id "$secret" --version-stage AWSPREVIOUS \
        --remove-from-version-id "$previous" >/dev/null
fi
[ "$schedule" = True ] || aws secretsmanager cancel-rotate-secret --secret-id "$secret" >/dev/null
[ "$(version AWSPREVIOUS)" = None ] || fail "another rotation ran at the same time: run this again"
echo "revoke-root-key: version $new is in force; functions refuse every older key within seconds (KeyCacheSeconds, at least 5)"
