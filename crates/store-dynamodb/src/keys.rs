//! The keys of the table, and the texts that lists sort by.
//!
//! Every key of a project's data begins with the project's id, so an id of another project matches
//! nothing.

mod facets;

use jiff::Timestamp;
use onerun_auth::KeyId;
use onerun_domain::{
    AgentId, BatchId, ConversationId, EvaluationRunId, JobId, JobKind, MonitorId, MonitorRunId, ObjectiveId,
    ObjectiveRef, PersonaId, ProjectId, SimulationId, Target, WebhookDeliveryId, WebhookId, sha256_hex,
};
use onerun_store::{IdempotencyId, IdempotencyScope, UsageKey};

pub(crate) use facets::{facets, origin_facets, wanted};

/// The number of shards of a simulation. Each has the counts, personas, and entries of conversations whose ids belong
/// to it. More shards mean more room and fewer conflicts.
pub(crate) const SIMULATION_SHARDS: u32 = 8;

/// The most counter shards of a simulation. Its changes write all of them in a transaction of 100 items.
const MAX_COUNTER_SHARDS: u32 = 64;

/// How many conversations share a counter shard, in a simulation with enough of them.
const CONVERSATIONS_OF_COUNTER_SHARD: u32 = 128;

/// The number of counter shards of a simulation. Transactions that meet at one are cancelled, so a simulation that may
/// hold more conversations at once has more.
fn counter_shards(target: Target) -> u32 {
    let wanted = (target.get() / CONVERSATIONS_OF_COUNTER_SHARD).next_power_of_two();
    wanted.clamp(SIMULATION_SHARDS, MAX_COUNTER_SHARDS)
}

/// The number of partitions of the global index of due times for each kind but leases.
pub(crate) const SHARDS: u32 = 4;

/// The number of partitions of leases in the global index of due times. A conversation's start and
/// end write there.
pub(crate) const LEASE_SHARDS: u32 = 16;

/// The number of partitions of a simulation's usage of models, and of a project's.
pub(crate) const USAGE_SHARDS: u32 = 4;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) partition: String,
    pub(crate) sort: String,
}

impl Key {
    fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }

    pub(crate) fn project(id: &ProjectId) -> Self {
        Self::new(PROJECTS, id.as_str())
    }

    pub(crate) fn agent(project: &ProjectId, id: &AgentId) -> Self {
        Self::new(project.as_str(), format!("agent#{id}"))
    }

    /// The newest version of an objective.
    pub(crate) fn objective(project: &ProjectId, id: &ObjectiveId) -> Self {
        Self::new(project.as_str(), format!("objective#{id}"))
    }

    pub(crate) fn version(project: &ProjectId, reference: &ObjectiveRef) -> Self {
        Self::new(project.as_str(), format!("version#{}#{}", reference.id, number(reference.version.into())))
    }

    pub(crate) fn monitor(project: &ProjectId, id: &MonitorId) -> Self {
        Self::new(project.as_str(), format!("{MONITOR}{id}"))
    }

    /// A run of a monitor. The runs of a monitor have their own partition.
    pub(crate) fn monitor_run(project: &ProjectId, monitor: &MonitorId, id: &MonitorRunId) -> Self {
        Self::new(Self::monitor_runs(project, monitor), format!("{MONITOR_RUN}{id}"))
    }

    /// The partition of a monitor's runs.
    pub(crate) fn monitor_runs(project: &ProjectId, monitor: &MonitorId) -> String {
        format!("{project}#{monitor}")
    }

    /// All webhooks of a project.
    pub(crate) fn webhooks(project: &ProjectId) -> Self {
        Self::new(project.as_str(), "webhooks")
    }

    /// A delivery of a webhook. The deliveries of a webhook have their own partition.
    pub(crate) fn webhook_delivery(project: &ProjectId, webhook: &WebhookId, id: &WebhookDeliveryId) -> Self {
        Self::new(Self::webhook_deliveries(project, webhook), format!("{DELIVERY}{id}"))
    }

    /// The partition of a webhook's deliveries.
    pub(crate) fn webhook_deliveries(project: &ProjectId, webhook: &WebhookId) -> String {
        format!("{project}#{webhook}")
    }

    pub(crate) fn batch(project: &ProjectId, id: &BatchId) -> Self {
        Self::new(project.as_str(), format!("{BATCH}{id}"))
    }

    /// The statuses of a batch's items.
    pub(crate) fn batch_items(project: &ProjectId, id: &BatchId) -> Self {
        Self::new(Self::batch_partition(project, id), "items")
    }

    /// The defaults of a batch's settings.
    pub(crate) fn batch_defaults(project: &ProjectId, id: &BatchId) -> Self {
        Self::new(Self::batch_partition(project, id), "defaults")
    }

    /// The settings of consecutive items of a batch.
    pub(crate) fn batch_part(project: &ProjectId, id: &BatchId, part: u32) -> Self {
        Self::new(Self::batch_partition(project, id), format!("part#{}", number(part.into())))
    }

    fn batch_partition(project: &ProjectId, id: &BatchId) -> String {
        format!("{project}#{id}")
    }

    /// A job, in its own partition, whose name says which pipe sends it.
    pub(crate) fn job(id: &JobId) -> Self {
        let prefix = match JobKind::of(id) {
            JobKind::Other | JobKind::Judging => "jobs",
            JobKind::Outbound => "outbound-jobs",
        };
        Self::new(format!("{prefix}#{id}"), id.as_str())
    }

    pub(crate) fn dead_job(id: &JobId) -> Self {
        Self::dead_job_of(id.as_str())
    }

    /// The buried job with an id that was read from the table.
    pub(crate) fn dead_job_of(id: &str) -> Self {
        Self::new("dead-jobs", id)
    }

    pub(crate) fn managed(id: &KeyId) -> Self {
        Self::managed_of(id.as_str())
    }

    /// The managed key with an id that was read from the table.
    pub(crate) fn managed_of(id: &str) -> Self {
        Self::new(KEYS, id)
    }

    pub(crate) fn usage(id: &KeyId) -> Self {
        Self::usage_of(id.as_str())
    }

    /// The usage of the managed key with an id that was read from the table.
    pub(crate) fn usage_of(id: &str) -> Self {
        Self::new("key-uses", id)
    }

    /// The record of a request under an `Idempotency-Key`. Records of requests about keys are in a
    /// partition that only functions about keys may write. Each other record has its own partition,
    /// so that no partition becomes hot.
    pub(crate) fn idempotency(id: &IdempotencyId) -> Self {
        match id.scope() {
            IdempotencyScope::Keys => Self::new("key-calls", id.hash()),
            IdempotencyScope::Resources => Self::new(format!("idempotency#{}", id.hash()), "record"),
        }
    }

    /// The number of requests of a bucket in a window. Each bucket has its own partition, because a
    /// partition takes at most a thousand writes a second.
    pub(crate) fn requests(bucket: &str, window_seconds: u32, start: i64) -> Self {
        Self::new(format!("key-rates#{bucket}"), format!("{window_seconds}#{start}"))
    }

    /// A project's usage of models under one key of usage, by one writer.
    pub(crate) fn model_usage(project: &ProjectId, key: &UsageKey, writer: &str) -> Self {
        let created_by = key.created_by.as_deref().unwrap_or_default();
        let sort = format!("{}#{created_by}#{}#{}#{writer}", key.day, key.purpose.as_str(), key.model);
        Self::new(Self::model_usage_partition(project, shard(writer, USAGE_SHARDS)), sort)
    }

    /// A partition of a project's usage of models.
    pub(crate) fn model_usage_partition(project: &ProjectId, shard: u32) -> String {
        format!("{project}#usage#{shard}")
    }

    /// An entry of the audit trail, in the partition of a month such as `2031-03`.
    pub(crate) fn audit_entry(month: &str, sequence: u64) -> Self {
        Self::new(format!("audit#{month}"), format!("entry#{}", number(sequence)))
    }

    pub(crate) fn audit_head() -> Self {
        Self::new("audit", "head")
    }

    /// The item that says that the trail has begun.
    pub(crate) fn audit_start() -> Self {
        Self::new("audit", "start")
    }
}

/// The prefix of the sort keys of monitors.
pub(crate) const MONITOR: &str = "monitor#";

/// The prefix of the sort keys of batches.
pub(crate) const BATCH: &str = "batch#";

/// The prefix of the sort keys of monitors' runs.
pub(crate) const MONITOR_RUN: &str = "run#";

/// The prefix of the sort keys of webhooks' deliveries.
pub(crate) const DELIVERY: &str = "delivery#";

pub(crate) const PROJECTS: &str = "projects";

/// The entries of buried jobs. They are apart from the jobs, whose partition a pipe reads.
pub(crate) const DEAD_JOB_LIST: &str = "dead-jobs#list";

pub(crate) const KEYS: &str = "keys";

/// A partition of the index of due times.
pub(crate) fn due_shard(kind: &'static str, shard: u32) -> String {
    format!("{kind}#{shard}")
}

#[derive(Clone, Debug)]
pub(crate) struct SimulationKeys {
    pub(crate) partition: String,
}

impl SimulationKeys {
    pub(crate) fn new(project: &ProjectId, id: &SimulationId) -> Self {
        Self { partition: format!("{project}#{id}") }
    }

    fn key(&self, sort: String) -> Key {
        Key { partition: self.partition.clone(), sort }
    }

    pub(crate) fn simulation(&self) -> Key {
        self.key("simulation".into())
    }

    fn shard(&self, number: u32) -> String {
        format!("{}#shard#{number}", self.partition)
    }

    /// The partitions of the shards.
    pub(crate) fn shards(&self) -> Vec<String> {
        (0..SIMULATION_SHARDS).map(|number| self.shard(number)).collect()
    }

    /// The shard of the persona or conversation with this id.
    pub(crate) fn shard_of(&self, id: &str) -> String {
        self.shard(shard(id, SIMULATION_SHARDS))
    }

    /// The partition of the queue. There is one, because each poll of a worker reads it for each running simulation.
    /// It takes some thousand replies a second.
    pub(crate) fn queue(&self) -> String {
        format!("{}#queue", self.partition)
    }

    /// A counter shard. They are spread over the partitions of the shards.
    fn counter_shard(&self, number: u32) -> Key {
        Key::new(self.shard(number % SIMULATION_SHARDS), format!("{COUNTS}#{number:02}"))
    }

    /// The first counter shards, which every simulation has.
    pub(crate) fn first_counter_shards(&self) -> Vec<Key> {
        (0..SIMULATION_SHARDS).map(|number| self.counter_shard(number)).collect()
    }

    /// The counter shards of a simulation with this target.
    pub(crate) fn counter_shards(&self, target: Target) -> Vec<Key> {
        (0..counter_shards(target)).map(|number| self.counter_shard(number)).collect()
    }

    /// The counter shard of a conversation in a simulation with this target.
    pub(crate) fn counter_shard_of(&self, conversation: &ConversationId, target: Target) -> Key {
        self.counter_shard(shard(conversation.as_str(), counter_shards(target)))
    }

    /// The counter shard of a persona, and for a conversation one that its simulation has whatever its target is.
    pub(crate) fn first_counter_shard_of(&self, id: &str) -> Key {
        self.counter_shard(shard(id, SIMULATION_SHARDS))
    }

    /// The simulation's usage of models under one key of usage, by one writer.
    pub(crate) fn usage(&self, key: &UsageKey, writer: &str) -> Key {
        let sort = format!("{}#{}#{}#{writer}", key.day, key.purpose.as_str(), key.model);
        Key { partition: self.usage_partition(shard(writer, USAGE_SHARDS)), sort }
    }

    /// A partition of the simulation's usage of models.
    pub(crate) fn usage_partition(&self, shard: u32) -> String {
        format!("{}#usage#{shard}", self.partition)
    }

    /// The item that holds which numbers of conversations are taken.
    pub(crate) fn numbers(&self) -> Key {
        self.key("numbers".into())
    }

    /// The item that holds the personas that a caller wrote.
    pub(crate) fn explicit_personas(&self) -> Key {
        self.key("explicit-personas".into())
    }

    /// A part of the conversations that wait for their import.
    pub(crate) fn import_part(&self, part: u64) -> Key {
        self.key(format!("{}{}", Self::import_prefix(), number(part)))
    }

    /// The prefix of the sort keys of an import's parts.
    pub(crate) fn import_prefix() -> &'static str {
        "import#"
    }

    pub(crate) fn persona(&self, id: &PersonaId) -> Key {
        Key::new(self.shard_of(id.as_str()), format!("persona#{id}"))
    }

    /// The item that reserves a persona's number.
    pub(crate) fn persona_number(&self, seq: u32) -> Key {
        self.key(format!("{PERSONA_NUMBER}{}", number(seq.into())))
    }

    /// The conversation itself, in its own partition.
    pub(crate) fn conversation(&self, id: &ConversationId) -> Key {
        Key { partition: self.transcript(id).partition, sort: CONVERSATION.into() }
    }

    pub(crate) fn evaluation_run(&self, id: &EvaluationRunId) -> Key {
        self.key(format!("{}{id}", Self::evaluation_run_prefix()))
    }

    /// The prefix of the sort keys of evaluation runs.
    pub(crate) fn evaluation_run_prefix() -> &'static str {
        "evaluation-run#"
    }

    pub(crate) fn labels(&self, conversation: &ConversationId) -> Key {
        self.key(format!("{}{conversation}", Self::labels_prefix()))
    }

    /// The prefix of the sort keys of labels.
    pub(crate) fn labels_prefix() -> &'static str {
        "labels#"
    }

    /// The keys of an evaluation run's results and of their counts.
    pub(crate) fn run(&self, id: &EvaluationRunId) -> RunKeys {
        RunKeys { partition: format!("{}#{id}", self.partition) }
    }

    /// The keys of a conversation's messages, replies and evaluations.
    pub(crate) fn transcript(&self, id: &ConversationId) -> TranscriptKeys {
        TranscriptKeys { partition: format!("{}#{id}", self.partition) }
    }
}

/// The keys of an evaluation run's results and of their counts, in shards by conversation.
#[derive(Clone, Debug)]
pub(crate) struct RunKeys {
    partition: String,
}

impl RunKeys {
    fn shard(&self, number: u32) -> String {
        format!("{}#{number}", self.partition)
    }

    fn shard_of(&self, conversation: &ConversationId) -> String {
        self.shard(shard(conversation.as_str(), SIMULATION_SHARDS))
    }

    /// The partitions of the shards.
    pub(crate) fn shards(&self) -> Vec<String> {
        (0..SIMULATION_SHARDS).map(|number| self.shard(number)).collect()
    }

    pub(crate) fn result(&self, conversation: &ConversationId) -> Key {
        Key::new(self.shard_of(conversation), format!("{}{conversation}", Self::result_prefix()))
    }

    /// The prefix of the sort keys of results.
    pub(crate) fn result_prefix() -> &'static str {
        "result#"
    }

    pub(crate) fn counter_shards(&self) -> Vec<Key> {
        self.shards().into_iter().map(|shard| Key::new(shard, COUNTS)).collect()
    }

    /// The counter shard of a conversation's result.
    pub(crate) fn counter_shard_of(&self, conversation: &ConversationId) -> Key {
        Key::new(self.shard_of(conversation), COUNTS)
    }
}

/// The sort key of the counts of a shard, or its prefix.
const COUNTS: &str = "counts";

/// The sort key of a conversation in its own partition.
pub(crate) const CONVERSATION: &str = "conversation";

/// The prefix of the sort keys of personas' numbers.
pub(crate) const PERSONA_NUMBER: &str = "persona-number#";

/// The keys of one conversation's messages, replies and evaluations.
#[derive(Clone, Debug)]
pub(crate) struct TranscriptKeys {
    pub(crate) partition: String,
}

impl TranscriptKeys {
    /// The messages of an attempt from a position on, as one change added them.
    pub(crate) fn messages(&self, attempt: u32, position: u32, part: usize) -> Key {
        let sort = format!("{}#{part:02}", message(attempt, position.into()));
        Key { partition: self.partition.clone(), sort }
    }

    /// The reply under an `Idempotency-Key`, which is a caller's text of any length, so its hash is used.
    pub(crate) fn reply(&self, idempotency_key: &str) -> Key {
        Key { partition: self.partition.clone(), sort: format!("reply#{}", sha256_hex([idempotency_key])) }
    }

    /// The evaluation of an attempt for an objective.
    pub(crate) fn evaluation(&self, attempt: u32, objective: &ObjectiveRef) -> Key {
        let (attempt, version) = (number(attempt.into()), number(objective.version.into()));
        Key {
            partition: self.partition.clone(),
            sort: format!("{}{attempt}#{}#{version}", Self::evaluation_prefix(), objective.id),
        }
    }

    /// The prefix of the sort keys of evaluations.
    pub(crate) fn evaluation_prefix() -> &'static str {
        "verdict#"
    }
}

/// The prefix of the sort keys of an item with messages, and of its parts.
pub(crate) fn message(attempt: u32, position: u64) -> String {
    format!("message#{}#{}", number(attempt.into()), number(position))
}

/// A number as a part of a key, which sorts in numeric order.
pub(crate) fn number(number: u64) -> String {
    format!("{number:010}")
}

/// A time as a part of a key, which sorts in order of time. Times before 1970 are equal.
pub(crate) fn time(time: Timestamp) -> String {
    format!("{:018}", time.as_microsecond().max(0))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Sorts after every continuation of the text before it, because keys are ASCII.
pub(crate) const LAST: &str = "~";

/// Ends a name within a key. It sorts before every character of a name, so a name comes before its
/// continuations.
pub(crate) const END: &str = "\u{1}";

/// The shard of an id, stable over releases: FNV-1a.
pub(crate) fn shard(id: &str, shards: u32) -> u32 {
    let hash =
        id.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % shards
}

/// A name in the form that lists compare, regardless of case. Both small sigmas become one letter,
/// because which of them a capital becomes depends on the next letter, and a filter may end
/// anywhere.
pub(crate) fn fold(name: &str) -> String {
    name.to_lowercase().replace('ς', "σ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_times_and_numbers_sort_as_they_do() {
        let times =
            ["1969-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "2031-03-14T09:26:53Z", "9999-01-01T00:00:00Z"];
        let texts: Vec<_> = times.iter().map(|text| time(text.parse().unwrap())).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        assert!(texts.iter().all(|text| text.len() == 18));
        assert!(number(9) < number(10) && number(u32::MAX.into()) < number(u64::from(u32::MAX) + 1_000));
    }

    #[test]
    fn larger_simulations_have_more_counter_shards() {
        let numbers =
            [1, 64, 1_000, 1_100, 2_048, 5_000, 10_000].map(|target| Target::parse(target).unwrap());
        assert_eq!(numbers.map(counter_shards), [8, 8, 8, 8, 16, 64, 64]);
    }

    #[test]
    fn ids_are_spread_over_all_shards() {
        let mut counts = [0; 8];
        for number in 0..800 {
            counts[usize::try_from(shard(&format!("conversation{number:09}"), 8)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
    }

    #[test]
    fn part_of_a_name_folds_to_part_of_the_folded_name() {
        for (name, part) in [("ÄRGER Ж", "ger ж"), ("ΟΔΟΣ ΑΒ", "δοσ α"), ("ΟΔΟΣΑ", "ΔΟΣ"), ("οδος", "ΔΟΣ")]
        {
            assert!(fold(name).contains(&fold(part)), "{name} {part}");
        }
    }

    #[test]
    fn longest_name_fits_into_a_sort_key() {
        // A sort key has at most 1,024 bytes. Letters that grow when folded are short before.
        let longest = (char::MIN..=char::MAX).map(|letter| fold(&letter.to_string()).len()).max().unwrap();
        assert!(
            longest * onerun_domain::Name::MAX_LENGTH + "by-status#simulation###".len() + 18 + 21 <= 1_024
        );
    }
}
