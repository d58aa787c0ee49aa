//! The wires of `onerun-model-chat` against a real model.

use std::{sync::Arc, time::Duration};

use onerun_model_chat::{Finish, Sent};
use onerun_tests::provider::{Converse, Faults, LanguageModel, Provider, Upstream, Wire};
use serde_json::Value;
use tokio::time::Instant;

use crate::wires::{client, request, usage};

#[tokio::test]
async fn model_answers_over_each_wire_with_its_own_count() {
    let model = LanguageModel::start().await;
    let converse = Converse::start(model.url()).await;
    for wire in Wire::ALL {
        let upstream = Upstream::new(&model).with_converse(&converse);
        let provider = Arc::new(Provider::before(Faults::none(), upstream).await);
        let client = client(&provider, wire);
        let mut request = request();
        request.max_tokens = 200;
        let deadline = Instant::now() + Duration::from_mins(5);
        let answer = client.send("smollm2", &request, deadline, &Sent::default()).await.unwrap();

        let text = answer.text.unwrap();
        assert_eq!(answer.finish, Finish::Complete, "{text}");
        let reply: Value = serde_json::from_str(&text).unwrap();
        assert!(reply["message"].is_string(), "{reply}");
        let calls = provider.calls();
        assert_eq!(calls.len(), 1);
        assert_eq!(calls[0].text.as_deref(), Some(text.as_str()));
        assert_eq!(answer.tokens, Some(usage(calls[0].tokens)));
        assert!(usage(calls[0].tokens).total() > 30, "{calls:?}");
        assert_eq!(provider.rejected(), [""; 0]);
    }
}
