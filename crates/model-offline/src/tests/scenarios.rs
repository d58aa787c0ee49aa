//! Openings for scenarios of many trades.

use crate::testing::{agent, answer, persona, simulation};

/// None of them is about a shop.
pub(super) const SCENARIOS: [&str; 40] = [
    "A patient calls the dentist to move an appointment to next week.",
    "A patient's crown fell out while eating, and it hurts.",
    "A code-review bot comments on a pull request that adds a cache without a limit.",
    "A developer asks a code review bot to check a change to the login page.",
    "A kettle trips the fuse whenever it is switched on, and a family wants to know why.",
    "Someone has a broken kettle and asks how to descale and repair it.",
    "A dog owner is worried because the dog ate chocolate.",
    "A cat owner wants to book a vaccination at the vet.",
    "A gym member wants to freeze the membership during a pregnancy.",
    "Members of a climbing gym complain that the showers are cold.",
    "A bank customer lost a debit card on a train and wants to block it.",
    "A couple asks a bank for a mortgage on an old farmhouse.",
    "A student is late for class and has missed the quiz.",
    "Parents ask the school whether their son may skip swimming lessons.",
    "A taxpayer does not understand the assessment from the tax office.",
    "A freelancer wants to register for value added tax.",
    "A passenger missed the last connection because of a delayed train.",
    "Commuters ask the railway about season tickets for bicycles.",
    "A visitor wants to know when a relative can be visited in intensive care at the hospital.",
    "A nurse needs to swap a night shift at the hospital.",
    "A reader wants to renew an overdue library book.",
    "A library user cannot log in to the catalogue.",
    "A tenant asks the landlord to repair the heating.",
    "A landlord needs advice about a tenant who smokes on the balcony.",
    "A driver reports a collision with a deer to the insurance.",
    "A policyholder's claim for a flooded cellar was rejected.",
    "A traveller wants to change the seat on a flight to Lisbon.",
    "Guests call a hotel to ask for a quiet room.",
    "A diner with a nut allergy asks which dishes are safe.",
    "A farmer wants to know how to treat rust on wheat.",
    "A citizen wants to register a new address at the town hall.",
    "A museum visitor asks whether photographs are allowed.",
    "A mother is looking for a piano teacher for her daughter.",
    "A pensioner needs help with the settings of a hearing aid.",
    "Photosynthesis for ninth graders",
    "Ein Mieter fragt, wann der Aufzug repariert wird.",
    "Un usuario quiere cambiar la potencia de su contrato de luz.",
    "You are maria_silva_42. You want to cancel your flight to Boston because your meeting was moved.",
    "You are a volunteer whose shift at the food bank overlaps with an exam. You are polite.",
    "Act as a nervous applicant who wants to postpone a job interview.",
];

/// Words that say nothing about a subject.
const COMMON: &str = "about after asks because calls does from have help know must needs someone that their them they this until \
    wants what when where whether which while with your";

/// Subjects that a scenario without them must not get.
const FOREIGN: [&str; 14] = [
    "parcel",
    "package",
    "refund",
    "money back",
    "replacement",
    "my order",
    "new one",
    "delivery",
    "invoice",
    "trainers",
    "jacket",
    "unsubscribe",
    "shop",
    "charge",
];

fn subject_words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| word.chars().count() >= 4 && !COMMON.split_whitespace().any(|common| common == *word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_opening_is_about_its_scenario() {
    for scenario in SCENARIOS {
        let subject = subject_words(scenario);
        for seed in 0..20 {
            let simulation = simulation(seed, scenario);
            let seq = u32::try_from(seed).unwrap() + 1;
            let opening = answer(&simulation, seq, seq, &[]).text.unwrap();
            let shares = subject_words(&opening).iter().any(|word| subject.contains(word));
            assert!(shares || opening.contains(scenario), "{scenario}\n{opening}");
            for foreign in FOREIGN {
                let lower = opening.to_lowercase();
                assert!(
                    !lower.contains(foreign) || scenario.contains(foreign),
                    "{foreign}: {scenario}\n{opening}"
                );
            }
        }
    }
}

#[test]
fn every_story_and_purpose_is_about_its_scenario() {
    for scenario in SCENARIOS {
        let subject = subject_words(scenario);
        let simulation = simulation(1, scenario);
        for seq in 1..=20 {
            let persona = persona(&simulation, &agent(), seq);
            for text in [&persona.story, &persona.purpose] {
                assert!(subject_words(text).iter().any(|word| subject.contains(word)), "{scenario}\n{text}");
            }
        }
    }
}

#[test]
fn instructions_to_the_persona_are_not_spoken() {
    for scenario in [
        "You are maria_silva_42. You want to change your flight.",
        "You are Mia Li, and you live in Reno. You want to know your balance. If the agent asks, you say no.",
        "Your name is Noah Brown. Your order never came. You only accept a refund.",
        "You're a tenant whose tap leaks. Do not tell your flat number unless asked.",
        "Act as a rude guest who wants a late checkout. Never thank the agent.",
        "Play a student who lost a badge. Keep your answers short.",
        "Your goal is to move your exam. Your tone is friendly.",
        "Imagine you are a patient with a rash. Ask for an appointment.",
    ] {
        for seed in 0..20 {
            let simulation = simulation(seed, scenario);
            let opening = answer(&simulation, 1, 1, &[]).text.unwrap();
            let lower = opening.to_lowercase();
            for spoken in [
                "you are maria",
                "you are mia",
                "you're a",
                "your name is",
                "act as",
                "play a",
                "your goal",
                "imagine you",
                "you want",
                "you only",
                "keep your",
                "never thank",
                "do not tell",
            ] {
                assert!(!lower.contains(spoken), "{spoken}: {opening}");
            }
        }
    }
}
