//! The documentation's AWS commands, run against moto.

use onerun_tests::{aws::Moto, process::Server};

use crate::docs::{ScriptDirectory, aws_blocks};

/// A stack with the outputs that the page needs: the address of a local server, and the secret with
/// its root key. moto creates no secret in a stack.
const STACK: &str = r#"
arn=$(aws secretsmanager create-secret --name root --secret-string "$ROOT" --query ARN --output text)
aws cloudformation create-stack --stack-name onerun --template-body '{
    "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {"ApiUrl": {"Value": "'"$URL"'"}, "SecretArn": {"Value": "'"$arn"'"}}
}'
"#;

#[tokio::test]
async fn docs_on_keys_are_right_about_aws() {
    let (moto, server) = tokio::join!(Moto::start(), Server::start());
    let place = ScriptDirectory::of(&server);
    let blocks = aws_blocks();
    let [connect, store, rotate, rotate_again] = blocks.as_slice() else {
        panic!("{} blocks for AWS: {blocks:?}", blocks.len())
    };
    assert!(
        rotate.contains("rotate-secret") && rotate_again.contains("rotate-secret"),
        "{rotate}{rotate_again}"
    );
    let script = format!(
        "set -eu\n{STACK}\n{connect}\nonerun keys whoami >whoami\nmkdir ~/.onerun\n\
         onerun keys create worker --preset worker --all-projects --output ~/.onerun/worker\n\
         ({store}) >stored\n{rotate}\n{rotate_again}"
    );
    let mut variables = moto.environment().to_vec();
    variables.extend([("ROOT", server.key().to_owned()), ("URL", server.base_url().to_owned())]);
    place.shell_with("aws", &variables, &script).success().await;

    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert!(read("shop/whoami").starts_with("id          root\n"), "{}", read("shop/whoami"));
    let stored = read("shop/stored");
    let key = read("home/.onerun/worker");
    assert_eq!(stored.lines().filter(|line| *line == key.trim_end()).count(), 1, "the key is in the secret");
}
