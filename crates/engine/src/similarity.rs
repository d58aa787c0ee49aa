//! Compares personas.

use std::collections::BTreeSet;

use onerun_domain::{Persona, PersonaDraft, Scenario};

/// Personas that share more than this part of their longer words are similar.
const MAX_SIMILARITY: f64 = 0.6;

/// Whether two personas of a scenario have the same story in nearly the same words. The scenario's words are
/// in every story. Summaries are not compared: another name does not make another person.
pub fn is_similar(scenario: &Scenario, draft: &PersonaDraft, other: &Persona) -> bool {
    let common = words(&[scenario.as_str()]);
    let own = |texts: &[&str]| words(texts).difference(&common).cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (own(&[&draft.story, &draft.purpose]), own(&[&other.story, &other.purpose]));
    let shared = ours.intersection(&theirs).count();
    let all = ours.len() + theirs.len() - shared;
    if all == 0 {
        return draft.story.trim() == other.story.trim();
    }
    shared as f64 / all as f64 > MAX_SIMILARITY
}

/// The longer words of some texts. Short ones are in every text.
fn words(texts: &[&str]) -> BTreeSet<String> {
    texts
        .iter()
        .flat_map(|text| text.split(|character: char| !character.is_alphanumeric()))
        .filter(|word| word.chars().count() > 3)
        .map(str::to_lowercase)
        .collect()
}
