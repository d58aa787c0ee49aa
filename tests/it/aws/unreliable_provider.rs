//! The stock SDK's simulation over the functions, with an unreliable provider.

use onerun_tests::{aws::MODEL_KEYS_SECRET, provider::Wire, sdk::SdkProject};

use super::models::{deploy_with, model_keys};
use crate::unreliable_provider::{SHORT, completes, unreliable_provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_completes_with_an_unreliable_provider() {
    let provider = unreliable_provider().await;
    let limits =
        [("ONERUN_TURN_SECONDS", "4"), ("ONERUN_REPLY_SECONDS", "20"), ("ONERUN_LEASE_SECONDS", "15")];
    let cloud = deploy_with(&provider, Wire::Converse, &limits).await;
    cloud.secret.another(MODEL_KEYS_SECRET, Some(&model_keys())).await;
    cloud.run_in_background();
    let project = SdkProject::open(cloud.client().await).await;

    let result = completes(&project, &provider, SHORT, &[]).await;

    let log = cloud.final_log();
    result.unwrap_or_else(|problem| panic!("{problem}\n{log}"));
}
