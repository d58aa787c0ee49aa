use std::sync::Arc;

use onerun_domain::{Description, Name, Redaction};
use onerun_engine::{JudgeRequest, Meter, Model as _, PersonaRequest, Question, ReplyRequest};
use serde_json::json;

use crate::testing::{Answer, agent, model, objective, persona, simulation, transcript};

/// Matches what is planted into every text of a request.
const SECRET: &str = "4111 1111 1111 1111";

fn planted(text: &str) -> String {
    format!("{text} {SECRET} \"<{SECRET}>\"")
}

#[tokio::test(start_paused = true)]
async fn redacted_text_reaches_no_provider() {
    let everything = json!({
        "summary": "Ann", "age_group": "adult", "occupation": "", "story": "s", "goal": "g", "message": "Hi",
        "stop": false, "verdicts": [{"objective": 1, "reasoning": "r", "verdict": "failed", "score": 0}],
    });
    let (mut model, script) = model(move |_| Answer::Text(everything.to_string()));
    model.judges_personas = true;
    model.redaction = Arc::new(Redaction::parse("\\d{4} \\d{4} \\d{4} \\d{4}\n\"<").unwrap());

    let simulation = simulation(&planted("A flight was cancelled."));
    let mut agent = agent();
    agent.name = Name::parse(planted("Desk")).unwrap();
    agent.description = Some(Description::parse(planted("Books")).unwrap());
    let mut persona = persona(&simulation);
    let attributes = &mut persona.attributes;
    for text in [
        &mut persona.summary,
        &mut persona.story,
        &mut persona.purpose,
        &mut attributes.speech_style,
        &mut attributes.speech_patterns,
        &mut attributes.personality_traits,
        &mut attributes.typical_behavior,
        &mut attributes.stress_triggers,
        &mut attributes.stress_reactions,
    ] {
        *text = planted(text);
    }
    let (one, other) = (planted("Hello"), planted("Which?"));
    let transcript = transcript(&[&one, &other]);
    let objective = objective(&planted("Kind"), &planted("The agent is kind."));
    let meter = &Meter::default();

    let others = &[];
    model
        .persona(PersonaRequest { simulation: &simulation, agent: &agent, seq: 1, others, meter })
        .await
        .unwrap();
    let request = ReplyRequest {
        simulation: &simulation,
        agent: &agent,
        persona: &persona,
        conversation_seq: 1,
        transcript: &transcript,
        meter,
    };
    model.reply(request).await.unwrap();
    let questions = &[Question { objective: &objective, prose: objective.criteria.as_str() }];
    model
        .judge(JudgeRequest {
            simulation: &simulation,
            questions,
            transcript: &transcript,
            persona: Some(&persona),
            meter,
        })
        .await
        .unwrap();

    let requests = script.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        let text = request.to_string();
        assert!(!text.contains("4111"), "{text}");
        assert!(
            text.contains(Redaction::REPLACEMENT) && text.contains("A flight was cancelled")
                || text.contains("Hello")
        );
    }
}
