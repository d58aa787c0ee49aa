//! The stock SDK's simulation over the functions, with an unreliable provider.

use onerun_tests::{aws::MODEL_KEYS_SECRET, provider::Wire, sdk::SdkProject};

use super::models::{deploy_with, model_keys};
use crate::unreliable_provider::{completes, unreliable_provider};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_completes_with_an_unreliable_provider() {
    let provider = unreliable_provider().await;
    let limits = ["TURN", "REPLY", "LEASE"].map(|name| format!("ONERUN_{name}_SECONDS"));
    let limits: Vec<_> = limits.iter().map(String::as_str).zip(["4", "20", "15"]).collect();
    let cloud = deploy_with(&provider, Wire::Converse, &limits).await;
    cloud.secret.another(MODEL_KEYS_SECRET, Some(&model_keys())).await;
    cloud.run_in_background();
    let project = SdkProject::open(cloud.client().await).await;

    let result = completes(&project, &provider, &[]).await;

    let log = cloud.final_log();
    result.unwrap_or_else(|problem| panic!("{problem}\n{log}"));
}
