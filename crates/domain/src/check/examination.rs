//! Decides the checks of several objectives about one conversation, in steps of bounded work.

use std::{ops::Range, sync::Arc};

use super::{CheckResult, Rubric, Rule, folding::Folded};
use crate::{Item, MAX_QUOTES, Quote, Role, Transcript};

/// The maximum work for one conversation: bytes times the width of the patterns that are matched
/// against them. It takes about five seconds at worst, so the conversations that are judged at once
/// finish well within a job's time limit.
const MAX_WORK: u64 = (512 + FOLDING_WORK) * 1024 * 1024;

/// The work to fold one byte.
const FOLDING_WORK: u64 = 16;

/// The work to test whether one check applies to a message.
const LOOKING_WORK: u64 = 1;

/// The maximum length of a quote in bytes; longer matches are cut.
const MAX_QUOTE: usize = 300;

/// A running decision of a conversation's checks. Patterns and messages come from callers and may
/// need seconds of processor time, so the caller of [`Examination::advance`] may pause between
/// steps.
pub struct Examination {
    rubrics: Vec<Arc<Rubric>>,
    transcript: Arc<Transcript>,
    searches: Vec<Search>,
    /// The index of the current message, and of the next search in it.
    message: usize,
    next: usize,
    current: Option<Message>,
    work_left: u64,
    /// Whether the remaining work did not suffice.
    is_exhausted: bool,
}

/// A search for one pattern.
struct Search {
    rubric: usize,
    check: usize,
    role: Role,
    width: u64,
    found: Option<Vec<Quote>>,
}

/// A message that is being matched.
struct Message {
    folded: Folded,
}

impl Examination {
    /// Prepares to decide the checks of these criteria.
    pub fn new(rubrics: Vec<Arc<Rubric>>, transcript: Arc<Transcript>) -> Self {
        let mut searches = Vec::new();
        for (index, rubric) in rubrics.iter().enumerate() {
            for (check, line) in rubric.checks.iter().enumerate() {
                if let Some((pattern, role)) = line.pattern() {
                    searches.push(Search { rubric: index, check, role, width: pattern.width(), found: None });
                }
            }
        }
        Self {
            rubrics,
            transcript,
            searches,
            message: 0,
            next: 0,
            current: None,
            work_left: MAX_WORK,
            is_exhausted: false,
        }
    }

    /// Does about this much work, and returns whether all checks are decided. A single search is
    /// not interrupted; it takes up to a few seconds.
    pub fn advance(&mut self, work: u64) -> bool {
        let mut done = 0;
        while done < work {
            let Some(item) = self.transcript.items.get(self.message) else { return true };
            let role = item.role;
            let Some(current) = &self.current else {
                match open(item, &self.searches, &mut self.work_left) {
                    Opened::TooMuch => {
                        self.is_exhausted = true;
                        self.message = self.transcript.items.len();
                    }
                    Opened::NothingToFind => self.message += 1,
                    Opened::Message(message) => self.current = Some(message),
                }
                done += LOOKING_WORK * (1 + self.searches.len() as u64);
                continue;
            };
            let text = current.folded.as_str();
            let Some(search) = self.searches.get_mut(self.next) else {
                (self.current, self.next, self.message) = (None, 0, self.message + 1);
                continue;
            };
            self.next += 1;
            let pattern = self.rubrics[search.rubric].checks[search.check].pattern();
            if let Some((pattern, _)) = pattern.filter(|_| search.role == role && search.found.is_none()) {
                search.found = pattern.find(text).map(|part| quotes(item, current.folded.original(part)));
                done += search.width * text.len() as u64;
            }
        }
        false
    }

    /// The results: for each rubric, those of its checks in the order of their lines.
    pub fn results(self) -> Vec<Vec<CheckResult>> {
        let [agent_speaks, persona_speaks] =
            [Role::Assistant, Role::User].map(|role| self.transcript.speaks(role));
        let mut searches = self.searches.into_iter().peekable();
        let mut all = Vec::with_capacity(self.rubrics.len());
        for (index, rubric) in self.rubrics.iter().enumerate() {
            let mut results = Vec::with_capacity(rubric.checks.len());
            for (number, check) in rubric.checks.iter().enumerate() {
                let search = searches.next_if(|search| (search.rubric, search.check) == (index, number));
                let found = search.and_then(|search| search.found);
                let silent = match check.role {
                    Role::Assistant if !agent_speaks => Some("the agent said nothing"),
                    Role::User if !persona_speaks => Some("the persona said nothing"),
                    Role::Assistant | Role::User => None,
                };
                results.push(match (&check.rule, silent) {
                    (_, Some(silent)) => check.inconclusive(silent),
                    (Rule::Says { .. }, None) if found.is_none() && self.is_exhausted => check.inconclusive(
                        "the conversation is too long for the patterns that are matched against it; use fewer check \
                         lines, or patterns with smaller repetition counts",
                    ),
                    (Rule::Says { wanted, .. }, None) => check.says(*wanted, found),
                    (Rule::Replies { comparison, count }, None) => {
                        check.replies(*comparison, *count, &self.transcript)
                    }
                    (Rule::Ended, None) => check.ended(self.transcript.end_reason),
                });
            }
            all.push(results);
        }
        all
    }
}

/// The result of preparing a message for its searches.
enum Opened {
    Message(Message),
    NothingToFind,
    /// The message needs more work than is left.
    TooMuch,
}

fn open(item: &Item, searches: &[Search], work_left: &mut u64) -> Opened {
    let wanted = searches.iter().filter(|search| search.role == item.role && search.found.is_none());
    let width: u64 = wanted.map(|search| search.width).sum();
    if width == 0 {
        return Opened::NothingToFind;
    }
    let length: usize = item.content.iter().map(|part| part.as_str().len() + 1).sum();
    let Some(left) = work_left.checked_sub((width + FOLDING_WORK) * length as u64) else {
        return Opened::TooMuch;
    };
    let folded = Folded::new(&item.text());
    // Checked before the first search: folding makes some characters longer.
    let more = folded.as_str().len().saturating_sub(length) as u64;
    let Some(left) = left.checked_sub(width * more) else { return Opened::TooMuch };
    *work_left = left;
    Opened::Message(Message { folded })
}

/// Quotes a range of a message, one quote for each part that it spans. At most one quote more than
/// an evaluation stores, which shows that there are more.
fn quotes(item: &Item, range: Range<usize>) -> Vec<Quote> {
    let mut quotes = Vec::new();
    let mut start = 0;
    for part in &item.content {
        if start >= range.end || quotes.len() > MAX_QUOTES {
            break;
        }
        let text = part.as_str();
        let (from, to) = (range.start.max(start), range.end.min(start + text.len()));
        if from < to {
            quotes.push(Quote { item_id: item.id.clone(), text: cut(&text[from - start..to - start]) });
        }
        // Parts are joined by a line break.
        start += text.len() + 1;
    }
    quotes
}

/// At most the first [`MAX_QUOTE`] bytes, cut at a character boundary, so that the quote occurs
/// literally.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_QUOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
