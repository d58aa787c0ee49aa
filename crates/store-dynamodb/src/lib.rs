//! OneRun's store on DynamoDB, for AWS.
//!
//! One table, on demand. Nothing is scanned: every call names the items that it is about, or
//! queries one partition. How the client reaches DynamoDB, with which credentials and TLS, is the
//! host's choice.
//!
//! # What is where
//!
//! | partition `pk` | sort key `sk` | what |
//! |---|---|---|
//! | `projects` | project | a project |
//! | project | `agent#`agent | an agent, and how many simulations it has |
//! | | `objective#`objective | the newest version of an objective |
//! | | `version#`objective`#`version | one version, never changed |
//! | | `simulation#`simulation | what lists of simulations are made from |
//! | project`#`simulation | `simulation` | the simulation, with the versions it pins |
//! | | `gate#`0 to 7 | its counts in eight parts, each with its revision |
//! | | `numbers` | which numbers of conversations are taken, a bit each |
//! | | `persona#`persona, `persona-number#`number | a persona, and that its number is taken |
//! | | `conversation#`conversation | a conversation, and what its evaluations come to |
//! | project`#`simulation`#`conversation | `message#`attempt`#`position`#`part | a message, cut where one item would be too large |
//! | | `reply#`hash | the reply under an `Idempotency-Key`, by the key's SHA-256. Removed by its `expires` |
//! | | `verdict#`attempt`#`objective`#`version | an evaluation |
//! | `jobs#`0 to 3 | job | a job that waits or is being worked on |
//! | `dead-jobs` | job | a job that was given up. Removed by its `expires` |
//! | `keys` | key | a managed key. Removed by its `expires`, 90 days after it is over |
//! | `key-uses` | key | how it was used, and when that was written. Removed as the key is, if the key has an end |
//! | `key-calls` | hash | what a request about keys under an `Idempotency-Key` was answered with. Removed by its `expires` |
//! | `idempotency#`hash | `record` | the same of other requests |
//! | `key-rates#`bucket | length`#`start | how many requests there were in a window. Removed by its `expires` |
//! | `audit` | `entry#`sequence | an entry of the audit trail |
//! | | `head` | the number and hash of the last entry |
//!
//! Data written while keys are used, in `key-uses` and `key-rates`, is separate from the keys, so
//! that a role can be allowed to update those partitions alone (`dynamodb:LeadingKeys`).
//!
//! Since every key of a project begins with its id, an id of another project names nothing. What a
//! thing is stands as JSON in `body`; beside it are only keys, what indexes sort and filter by,
//! counters and revisions. An item holds 400 KB; all but a message is far smaller by the bounds of
//! the domain, and what is not is refused before it is sent.
//!
//! # Indexes
//!
//! Four local indexes sort a partition otherwise, and are read consistently, so that a list shows
//! what was written before it was asked for. They bound what one partition holds to 10 GB, which is
//! millions of simulations of a project, and cannot be added to a table later. The global one is
//! for what is looked for in all projects.
//!
//! | index | key | sorts |
//! |---|---|---|
//! | `by-made` | `pk`, `made` | projects, agents, objectives, simulations, personas, conversations, dead jobs, managed keys |
//! | `by-name` | `pk`, `named` | projects, agents, objectives, simulations by folded name |
//! | `by-status` | `pk`, `stated` | simulations and conversations by status |
//! | `by-wait` | `pk`, `waits` | conversations that are not settled, queued ones first; jobs; managed keys by when they are over. Sparse |
//! | `by-due` (global) | `lane`, `due` | leases with the claims of turns, and expiries, in four shards each. Sparse |
//!
//! `by-made`, `by-name` and `by-status` carry `folded`, `status`, `agent` and `facets` to filter by; the
//! others carry keys alone.
//!
//! # Access
//!
//! Reads are consistent but for `overdue`. *Snapshot* is `TransactGetItems`: what is decided from
//! is of one moment, and never from between the parts of a transaction; otherwise a job could be
//! seen before the change that called for it.
//!
//! | method | how |
//! |---|---|
//! | `insert_project`, `insert_agent`, `insert_objective` | one transaction, on the condition that the id is new |
//! | `project`, `open_project`, `agent`, `objective`, `persona`, `turn` | `GetItem`; a project that was opened is remembered |
//! | `projects`, `agents`, `objectives`, `personas` | `Query` of `by-made` or `by-name`, then `BatchGetItem` of 51 rows at a time; for some projects that alone |
//! | `note_agent_poll` | one conditional `UpdateItem` of one attribute, which returns nothing |
//! | `change_project`, `change_agent`, `change_objective` | `GetItem`; transaction on its revision |
//! | `insert_simulation` | `BatchGetItem` of the versions; transaction: simulation, entry, counter shards, the agent's count, jobs |
//! | `simulation` | `GetItem`, then `BatchGetItem` of agent and versions |
//! | `simulations` | `Query` of `by-made`, `by-name` or `by-status`; for the longest waiting also one of `by-wait` for each running simulation; then `BatchGetItem` of 51 simulations at a time, and of their agents |
//! | `change_simulation` | snapshot of simulation and counter shards; transaction: simulation on its revision, entry, counter shards, jobs |
//! | `counts` | snapshot of simulation and counter shards |
//! | `add_persona` | transaction: persona and number if new, its counter shard, jobs |
//! | `persona_seqs` | `Query` of the keys of numbers |
//! | `change_persona` | snapshot of simulation and persona; transaction: persona on its revision, its counter shard on the simulation's, jobs |
//! | `add_conversations` | snapshot of simulation and numbers; transactions of 80: conversations, numbers on their revision, counter shards on the simulation's |
//! | `conversation` | `GetItem`; with evaluations, another of the simulation; `BatchGetItem` of versions, and of persona and evaluations |
//! | `conversations` | `Query` of `by-made`, `by-wait` or `by-status`; then `BatchGetItem` of 21 conversations at a time, and of their personas and evaluations; with evaluations, once the simulation and the versions that it pins |
//! | `unsettled_conversations` | `Query` of `by-wait` |
//! | `change_conversation` | snapshot of simulation and conversation; transaction: conversation on its revision, its counter shard on the simulation's, messages, reply, evaluations, jobs |
//! | `items` | `Query` from the page's first position to its last; `GetItem` of the conversation if fewer were found |
//! | `enqueue`, `complete_job`, `retry_job` | `UpdateItem` or `DeleteItem`, on condition |
//! | `claim_jobs` | two `Query`s of `by-wait` a shard, a thousand entries at most, then a conditional `UpdateItem` for each |
//! | `claim_job` | `GetItem`, then a conditional `UpdateItem` |
//! | `bury_job` | `GetItem`; transaction of the job and the dead job |
//! | `next_job_due` | one `Query` of `by-wait` a shard, a thousand entries at most |
//! | `dead_jobs` | `Query` of `by-made`, then `BatchGetItem` of 51 rows at a time |
//! | `overdue` | one `Query` of `by-due` a shard, not consistent |
//! | `insert_key` | `GetItem` of the caller and the head; `Query` of `by-wait` for the live keys; transaction: key and call if new, the caller's revision checked, head if it is still that, entry |
//! | `key`, `idempotency_record` | `GetItem` |
//! | `delete_expired_records` | nothing: DynamoDB removes them |
//! | `key_view` | two `GetItem` |
//! | `keys` | `Query` of `by-made` and `BatchGetItem` of 51 keys at a time and their uses, until the page is full |
//! | `change_key` | `GetItem` of the key, the caller and the head; transaction: key on its revision, the caller's revision checked, head if it is still that, entry; in a rotation the new key and the call, too, after a `Query` of `by-wait` for the live keys |
//! | `add_key_use` | two `GetItem`; transaction of the usage on its revision |
//! | `count_request` | one conditional `UpdateItem` |
//! | `audit` | `GetItem` of the head, `Query` from the page's first entry to its last |
//!
//! # Pages
//!
//! A list reads the keys of the page's entries from an index, then the rows in groups until the page is full
//! of rows or of bytes. So no more is held than a page and a group. A row that left the list meanwhile is
//! left out, and the entries after it are read on.
//!
//! A position is what an index sorts a row by and the row's sort key, with the names of list and index. A
//! query starts after it (`ExclusiveStartKey`). Its partition is the query's own, and the rest must lie
//! within the query's range, so a position leads nowhere else. Simulations that wait for a worker have the
//! time since when they wait instead. Messages and entries of the audit trail have their number.
//!
//! A page's `offset` is the wire's, and DynamoDB knows none. Entries before the page are counted (`Select:
//! COUNT`), up to some thousand a call; with a filter their keys are read and passed over. A name filter
//! reads all names of the project, or of the status. Both are bounded by the project. Messages and the audit
//! trail pass over nothing.
//!
//! # What may be seen late
//!
//! Only `by-due` lags, by moments. A lease that was renewed or ended may still be shown as overdue:
//! the decision about it reads what is stored, and refuses. One that has just run out may not be
//! shown yet: the next look shows it. A page that is read while its rows change is of several
//! moments: a conversation that left the status asked for is left out.
//!
//! # Contention
//!
//! DynamoDB cancels transactions that touch one item at one time. So conversations do not look at
//! their simulation but at one of its eight *counter shards*, which has the simulation's revision
//! and the counts of the conversations that fall to it; a change of the simulation, which is rare,
//! writes all eight. The write that settles the last unsettled conversation of a counter shard adds
//! the job that finishes the simulation, because the last of all is the last of its counter shard,
//! too: up to eight jobs' worth of calls, and none that all settlements would have to write to.
//!
//! All changes of keys meet at the head of the audit trail, whose order is the point of it. Where two come at
//! one time, one is canceled, seals its entry to the new head, and is tried again; what it was decided from
//! is still held to.
//!
//! Canceled, throttled and lost calls are retried with jitter for eight seconds; then the store is
//! unavailable. An attempt without a reply within three seconds counts as lost. A transaction that is sent
//! again because its reply was lost carries the same token, and so is applied once. A claim of a job writes
//! the claimer's name, by which a retry finds that it was first. The client must not retry as well: see
//! [`configure`].
//!
//! # Jobs on a stream
//!
//! A new job is an item inserted under a `pk` that begins with `jobs#`; one that is to be run again
//! is modified, and its `waits` begins with `0#` again. A filter of the table's stream needs no
//! more than these.

mod api_keys;
mod audit;
mod config;
mod counts;
mod database;
mod failure;
mod idempotency;
mod item;
mod jobs;
mod keys;
mod lists;
pub mod local;
mod overdue;
mod project;
mod query;
mod record;
mod retry;
mod store;
mod write;

pub use config::configure;
pub use store::DynamoDbStore;
