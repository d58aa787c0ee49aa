use onerun_domain::{Persona, Simulation};
use onerun_engine::{Meter, Model as _};
use serde_json::{Value, json};

use super::*;
use crate::{
    chat_model::ChatModel,
    testing::{Answer, agent, messages, model_with, simulation, stored, system},
};

const SCENARIO: &str =
    "You are maria_silva_42. Your flight to Lisbon was cancelled, and you want another one.";

async fn generated(
    model: &ChatModel,
    simulation: &Simulation,
    seq: u32,
    others: &[Persona],
    meter: &Meter,
) -> Result<PersonaDraft, ModelError> {
    let agent = agent();
    model.persona(PersonaRequest { simulation, agent: &agent, seq, others, meter }).await
}

fn written(story: &str) -> Value {
    json!({
        "summary": "Maria Silva, 40, a nurse", "age_group": "adult", "occupation": "nurse", "story": story,
        "goal": "A seat on another flight", "knows": ["Her flight was\ncancelled", " "],
        "tells_when_asked": ["Booking QX7811"], "stops_when": "She has a seat.", "language": "Portuguese",
    })
}

const WEDDING: &str =
    "Maria must be at her sister's wedding tomorrow, and the airline sent only a short message.";
const MEETING: &str =
    "An interview for a better position begins on Friday morning; the hotel cannot be refunded.";

fn text(value: &Value) -> Answer {
    Answer::Text(value.to_string())
}

#[tokio::test(start_paused = true)]
async fn persona_keeps_what_the_model_wrote() {
    let (model, script) = model_with([text(&written(WEDDING))]);
    let draft = generated(&model, &simulation(SCENARIO), 1, &[], &Meter::default()).await.unwrap();
    assert_eq!(draft.summary, "Maria Silva, 40, a nurse");
    assert_eq!(draft.purpose, "A seat on another flight");
    let lists = "Language: Portuguese\n\nEnds the conversation when: She has a seat.\n\nKnows:\n- Her flight was \
                 cancelled\n\nTells only when asked:\n- Booking QX7811";
    assert_eq!(draft.story, format!("{WEDDING}\n\n{lists}"));
    assert_eq!(
        (draft.attributes.age_group, draft.attributes.occupation.as_str()),
        (AgeGroup::Adult, "nurse")
    );
    let request = &script.requests()[0];
    assert!(messages(request)[0].1.contains(SCENARIO));
    assert!(system(request).contains("If it speaks to `you`, that is the person"));
}

#[tokio::test(start_paused = true)]
async fn repeated_story_is_asked_again_and_then_refused() {
    let simulation = simulation(SCENARIO);
    let (model, script) = model_with([text(&written(WEDDING))]);
    let meter = Meter::default();
    let first = stored(generated(&model, &simulation, 1, &[], &meter).await.unwrap(), 1);
    let error = generated(&model, &simulation, 2, &[first], &meter).await.unwrap_err().to_string();
    assert!(error.contains("those of persona 1") && !error.contains("Maria"), "{error}");
    assert_eq!(script.requests().len(), 3);
    assert_eq!((meter.usage().calls, meter.usage().failed_calls), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn replacement_of_a_rejected_persona_differs_from_it() {
    let simulation = simulation(SCENARIO);
    let (model, script) =
        model_with([text(&written(WEDDING)), text(&written(WEDDING)), text(&written(MEETING))]);
    let meter = Meter::default();
    let rejected = stored(generated(&model, &simulation, 1, &[], &meter).await.unwrap(), 1);
    let replacement = generated(&model, &simulation, 11, &[rejected], &meter).await.unwrap();
    assert!(replacement.story.starts_with(MEETING), "{}", replacement.story);
    assert_eq!(script.requests().len(), 3);
    // The outlines, which are drawn by number, differ as well.
    let requests = script.requests();
    assert_ne!(messages(&requests[0])[0], messages(&requests[1])[0]);
}

#[tokio::test(start_paused = true)]
async fn story_that_only_shares_the_scenario_is_accepted() {
    let simulation = simulation(SCENARIO);
    let both = |own: &str| {
        written(&format!("Maria's flight to Lisbon was cancelled, and she wants another one. {own}"))
    };
    let (model, script) = model_with([text(&both(WEDDING)), text(&both(MEETING))]);
    let meter = Meter::default();
    let first = stored(generated(&model, &simulation, 1, &[], &meter).await.unwrap(), 1);
    generated(&model, &simulation, 2, &[first], &meter).await.unwrap();
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn refusal_is_repaired_once_and_then_counted() {
    let simulation = simulation(SCENARIO);
    let meter = Meter::default();
    let (model, _) = model_with([Answer::Refusal, text(&written(WEDDING))]);
    generated(&model, &simulation, 1, &[], &meter).await.unwrap();
    assert_eq!((meter.usage().calls, meter.usage().failed_calls), (2, 1));
    let (model, _) = model_with([Answer::Refusal]);
    let error = generated(&model, &simulation, 1, &[], &meter).await.unwrap_err();
    assert!(matches!(&error, ModelError::Unusable(reason) if reason.contains("refused")), "{error}");
    assert_eq!((meter.usage().calls, meter.usage().failed_calls), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn faulty_persona_is_asked_again() {
    let simulation = simulation(SCENARIO);
    let changed = |member: &str, value: Value| {
        let mut person = written(WEDDING);
        person[member] = value;
        person
    };
    for (faulty, expected) in [
        (changed("summary", json!(" ")), "`summary` must not be empty"),
        (changed("story", json!("")), "`story` must not be empty"),
        (changed("goal", json!("\n")), "`goal` must not be empty"),
        (changed("age_group", json!("middle-aged")), "`age_group` must be one of `teen`"),
        (changed("knows", json!("much")), "`knows` must be a sequence"),
        (changed("story", json!("x".repeat(MAX_STORY))), "must have at most 4000 characters"),
    ] {
        let (model, script) = model_with([text(&faulty), text(&written(WEDDING))]);
        generated(&model, &simulation, 1, &[], &Meter::default()).await.unwrap();
        let repair = messages(&script.requests()[1]).pop().unwrap().1;
        assert!(repair.contains(expected), "{repair}");
    }
}
