//! Finds the person who acts in an English sentence, and converts the sentence into the first
//! person. Only words that are known for certain are converted; any other sentence gives `None`,
//! and the caller quotes it.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// Whom a text is about: its readers ("you"), or others ("they").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Second,
    Third,
}

/// Nouns for the people who may talk to an agent.
const PEOPLE: &str = "account adult applicant attendee author beginner borrower boss bride buyer caller candidate \
    caregiver carer child citizen claimant client climber colleague commuter consumer contributor cook couple \
    customer cyclist daughter debtor delegate developer dieter diner donor driver elder employee employer \
    engineer entrepreneur exhibitor expat family fan farmer father founder freelancer friend gamer gardener \
    grandparent graduate groom guardian guest hiker holder homeowner host immigrant individual intern investor \
    jobseeker keeper landlord learner lawyer listener lodger man manager maintainer member merchant mother \
    motorist musician neighbour neighbor newcomer nurse occupant operator organiser organizer owner parent \
    participant partner passenger patient patron payer pensioner person pilgrim pilot player policyholder \
    professional programmer proprietor pupil reader recruit recruiter refugee renter researcher resident retiree \
    rider runner sailor scientist seller senior shopper singer skier son spectator spouse stranger streamer \
    student subscriber surfer swimmer taxpayer teacher teenager tenant tourist trader trainee traveler traveller \
    trucker user vacationer viewer visitor volunteer voter walker widow widower winner woman worker writer \
    youngster";

const IRREGULAR_PEOPLE: &[&str] =
    &["children", "people", "men", "women", "families", "they", "he", "she", "someone", "somebody"];

/// Verbs whose present tense holds at the moment of speaking.
const STATES: &str = "want need have be know like live own think feel wonder hope plan expect suspect wish look wait \
    struggle worry prefer intend believe try fear consider suffer doubt depend disagree love hate require seek \
    understand remember use keep work study speak care pay rent";

/// Verbs for events, which are told in the past tense: regular, or with an irregular past.
const EVENTS: &str = "accept:ed add:ed apply:applied arrive:d ask:ed attend:ed become:became begin:began bite:bit \
    block:ed book:ed break:broke bring:brought build:built burn:ed buy:bought call:ed cancel:led carry:carried \
    change:d charge:d chat:ted check:ed choose:chose claim:ed close:d collect:ed come:came complain:ed complete:d \
    confirm:ed contact:ed crash:ed damage:d decide:d delete:d describe:d discover:ed dispute:d download:ed \
    drink:drank drive:drove drop:ped eat:ate email:ed enrol:led enroll:ed enter:ed exceed:ed explain:ed fail:ed \
    fall:fell file:d fill:ed find:found finish:ed fly:flew forget:forgot get:got give:gave go:went hear:heard \
    hit:hit hurt:hurt inherit:ed inquire:d injure:d install:ed join:ed lend:lent leave:left lock:ed lose:lost \
    make:made meet:met mention:ed message:d miss:ed misplace:d move:d notice:d open:ed order:ed overpay:overpaid \
    park:ed pass:ed phone:d plant:ed post:ed push:ed realise:d realize:d receive:d refuse:d register:ed reject:ed \
    renew:ed replace:d report:ed request:ed reserve:d return:ed ring:rang run:ran say:said schedule:d see:saw \
    sell:sold send:sent sign:ed spend:spent spill:ed spot:ted start:ed stop:ped submit:ted switch:ed take:took \
    tell:told travel:led turn:ed update:d upload:ed visit:ed wake:woke win:won wreck:ed write:wrote";

/// Auxiliaries with the form that follows "I".
const AUXILIARIES: &[(&str, &str)] = &[
    ("is", "am"),
    ("are", "am"),
    ("isn't", "am not"),
    ("aren't", "am not"),
    ("was", "was"),
    ("were", "was"),
    ("wasn't", "wasn't"),
    ("weren't", "wasn't"),
    ("has", "have"),
    ("have", "have"),
    ("hasn't", "haven't"),
    ("haven't", "haven't"),
    ("had", "had"),
    ("hadn't", "hadn't"),
    ("does", "do"),
    ("do", "do"),
    ("doesn't", "don't"),
    ("don't", "don't"),
    ("did", "did"),
    ("didn't", "didn't"),
    ("can", "can"),
    ("cannot", "cannot"),
    ("can't", "can't"),
    ("could", "could"),
    ("couldn't", "couldn't"),
    ("will", "will"),
    ("won't", "won't"),
    ("would", "would"),
    ("must", "must"),
    ("might", "might"),
    ("may", "may"),
];

const ADVERBS: &[&str] = &[
    "just",
    "recently",
    "still",
    "already",
    "also",
    "never",
    "always",
    "often",
    "suddenly",
    "accidentally",
    "usually",
    "really",
    "only",
    "urgently",
    "repeatedly",
    "mistakenly",
    "now",
    "currently",
    "no",
    "longer",
    "finally",
    "simply",
    "first",
    "then",
    "both",
    "all",
    "later",
    "badly",
    "desperately",
];

/// Words that begin a clause, so that "you" after them is a subject.
const CLAUSE_STARTS: &[&str] = &[
    "and", "but", "or", "so", "that", "if", "when", "because", "who", "which", "where", "how", "why",
    "until", "once", "while", "as", "though", "although", "since", "than", "before", "after", "whether",
    "unless", "what", "then",
];

/// The lower-case core of a word, with straight apostrophes and without punctuation around it.
pub(crate) fn core(word: &str) -> String {
    word.trim_matches(|character: char| !character.is_alphanumeric()).replace('’', "'").to_lowercase()
}

fn words_of(list: &'static str) -> HashSet<&'static str> {
    list.split_whitespace().collect()
}

/// Whether a word names people who may talk to an agent.
pub(crate) fn is_person(word: &str) -> bool {
    static NOUNS: LazyLock<HashSet<&str>> = LazyLock::new(|| words_of(PEOPLE));
    IRREGULAR_PEOPLE.contains(&word)
        || NOUNS.contains(word)
        || word.strip_suffix('s').is_some_and(|singular| NOUNS.contains(singular))
}

/// A verb as it follows "I".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verb {
    /// The infinitive; empty for an auxiliary.
    pub(crate) base: String,
    /// The form after "I".
    pub(crate) form: String,
}

/// Reads a verb in the third person, in the plural, or in the past.
pub(crate) fn verb(word: &str) -> Option<&'static Verb> {
    static VERBS: LazyLock<HashMap<String, Verb>> = LazyLock::new(verbs);
    VERBS.get(word)
}

/// Every form of every verb.
fn verbs() -> HashMap<String, Verb> {
    let mut verbs = HashMap::new();
    let mut add = |word: String, base: &str, form: &str| {
        verbs.entry(word).or_insert_with(|| Verb { base: base.to_owned(), form: form.to_owned() });
    };
    for (word, form) in AUXILIARIES {
        add((*word).to_owned(), "", form);
    }
    add("thought".to_owned(), "think", "thought");
    for base in STATES.split_whitespace() {
        let past = match base.strip_suffix('y') {
            Some(stem) if base != "pay" => format!("{stem}ied"),
            _ if base.ends_with('e') => format!("{base}d"),
            _ => format!("{base}ed"),
        };
        add(base.to_owned(), base, base);
        add(third_person(base), base, base);
        add(past.clone(), base, &past);
    }
    for (base, ending) in EVENTS.split_whitespace().filter_map(|entry| entry.split_once(':')) {
        let past = match ending {
            "d" | "ed" | "led" | "ped" | "ted" => format!("{base}{ending}"),
            _ => ending.to_owned(),
        };
        add(base.to_owned(), base, &past);
        add(third_person(base), base, &past);
        add(past.clone(), base, &past);
    }
    verbs
}

fn third_person(base: &str) -> String {
    match base.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if base.ends_with(['s', 'x', 'z', 'o']) || base.ends_with("ch") || base.ends_with("sh") => {
            format!("{base}es")
        }
        _ => format!("{base}s"),
    }
}

/// Whether a word is an infinitive that people use for what they want done.
pub(crate) fn is_infinitive(word: &str) -> bool {
    static INFINITIVES: LazyLock<HashSet<&str>> = LazyLock::new(|| words_of(WISHES));
    // "to work" usually names a place.
    (word != "work" && verb(word).is_some_and(|verb| verb.base == word)) || INFINITIVES.contains(word)
}

/// Further infinitives after "to".
const WISHES: &str = "access activate adopt appeal arrange assess avoid be calm claim clarify compare convert \
    correct create dispute do draft end estimate exchange extend fix freeze hand help hire improve insure \
    know learn let lower merge negotiate obtain organise organize pause postpone practise practice prepare print \
    prolong put query raise rebook recover reduce refund reimburse remove repair reschedule reset resolve restart \
    restore retrieve return review revise roll save set settle share sort step stay stop talk test track transfer \
    translate trim troubleshoot unblock unlock unsubscribe upgrade vaccinate verify waive withdraw";

/// The words, converted into the first person.
pub(crate) fn first_person(words: &str, view: View) -> String {
    let mut converted: Vec<String> = Vec::new();
    // The word before, and whether "I" is its subject.
    let (mut before, mut after_subject) = (String::new(), false);
    let mut starts_clause = true;
    let tokens: Vec<&str> = words.split(' ').filter(|token| !token.is_empty()).collect();
    for (index, token) in tokens.iter().enumerate() {
        let word = core(token);
        let next = tokens.get(index + 1).map(|next| core(next)).unwrap_or_default();
        let ends_part = token.ends_with([',', ';', ':', '.', '!', '?', '…']);
        let replacement = match view {
            View::Third => third_to_first(&word, next.is_empty() || ends_part),
            View::Second => {
                let subject = starts_clause || AUXILIARIES.iter().any(|(from, _)| *from == next);
                second_to_first(&word, subject)
            }
        };
        let conjoined = matches!(before.as_str(), "and" | "but" | "or" | "then") && view == View::Third;
        let replacement = match replacement {
            Some(replacement) => Some(replacement.to_owned()),
            None if after_subject && ADVERBS.contains(&word.as_str()) => None,
            None if after_subject => agree(&word),
            None if conjoined && (word.ends_with('s') || matches!(word.as_str(), "is" | "has")) => {
                agree(&word)
            }
            None => None,
        };
        let is_subject = replacement.as_deref().is_some_and(|text| text == "I");
        after_subject = is_subject || (after_subject && ADVERBS.contains(&word.as_str()));
        starts_clause = ends_part || CLAUSE_STARTS.contains(&word.as_str());
        before.clone_from(&word);
        converted.push(match replacement {
            Some(replacement) => with_marks(token, &replacement),
            None => (*token).to_owned(),
        });
    }
    converted.join(" ")
}

/// The form of a verb after "I"; `None` if it stays.
fn agree(word: &str) -> Option<String> {
    if let Some((_, form)) = AUXILIARIES.iter().find(|(from, _)| *from == word) {
        return Some((*form).to_owned());
    }
    let verb = verb(word)?;
    (word != verb.base && word.ends_with('s')).then(|| verb.form.clone())
}

fn third_to_first(word: &str, ends: bool) -> Option<&'static str> {
    Some(match word {
        "they" | "he" | "she" => "I",
        "her" if ends => "me",
        "their" | "his" | "her" => "my",
        "theirs" | "hers" => "mine",
        "them" | "him" => "me",
        "themselves" | "himself" | "herself" | "themself" => "myself",
        "they're" | "he's" | "she's" => "I'm",
        "they've" => "I've",
        "they'd" | "he'd" | "she'd" => "I'd",
        "they'll" | "he'll" | "she'll" => "I'll",
        _ => return None,
    })
}

fn second_to_first(word: &str, subject: bool) -> Option<&'static str> {
    Some(match word {
        "you" if subject => "I",
        "you" => "me",
        "your" => "my",
        "yours" => "mine",
        "yourself" => "myself",
        "you're" => "I'm",
        "you've" => "I've",
        "you'd" => "I'd",
        "you'll" => "I'll",
        _ => return None,
    })
}

/// A replacement with the punctuation of the word that it replaces.
fn with_marks(token: &str, replacement: &str) -> String {
    let start = token.find(char::is_alphanumeric).unwrap_or(0);
    let end = token
        .rfind(char::is_alphanumeric)
        .map_or(token.len(), |at| at + token[at..].chars().next().map_or(1, char::len_utf8));
    format!("{}{replacement}{}", &token[..start], &token[end..])
}

/// The position of the first word after adverbs and relative pronouns.
pub(crate) fn skip_adverbs(words: &[String], from: usize) -> usize {
    let skipped = words[from.min(words.len())..]
        .iter()
        .take_while(|word| ADVERBS.contains(&word.as_str()) || matches!(word.as_str(), "who" | "that"));
    from + skipped.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn third_person_becomes_first_person() {
        for (from, to) in [
            ("they cannot log in to their account", "I cannot log in to my account"),
            ("their bill is too high, and she has paid it", "my bill is too high, and I have paid it"),
            ("the clinic called him twice", "the clinic called me twice"),
            ("he is late and wants to go", "I am late and want to go"),
            ("they still are ill", "I still am ill"),
            ("the nurse saw her, and left", "the nurse saw me, and left"),
        ] {
            assert_eq!(first_person(from, View::Third), to);
        }
    }

    #[test]
    fn second_person_becomes_first_person() {
        for (from, to) in [
            ("you want to change your flight", "I want to change my flight"),
            ("the airline owes you money, so you are angry", "the airline owes me money, so I am angry"),
            ("your cat bit you, and you're worried", "my cat bit me, and I'm worried"),
        ] {
            assert_eq!(first_person(from, View::Second), to);
        }
    }

    #[test]
    fn verbs_are_read_in_every_form() {
        for (word, form) in [
            ("wants", "want"),
            ("tries", "try"),
            ("got", "got"),
            ("gets", "got"),
            ("misses", "missed"),
            ("loses", "lost"),
            ("is", "am"),
            ("cancelled", "cancelled"),
            ("needed", "needed"),
        ] {
            assert_eq!(verb(word).map(|verb| verb.form.as_str()), Some(form), "{word}");
        }
        for word in ["kettle", "service", "bot", "his", "this", "dentist"] {
            assert_eq!(verb(word), None, "{word}");
        }
    }
}
