//! OneRun's store on DynamoDB, for AWS.
//!
//! One table, on demand. Nothing is scanned: every call names its items or queries one partition.
//! The host chooses how the client reaches DynamoDB, with which credentials and TLS.
//!
//! # Items
//!
//! | partition `pk` | sort key `sk` | item |
//! |---|---|---|
//! | `projects` | project | a project |
//! | | *order*`#`… | entries of projects: see [Lists](#lists) |
//! | project | `agent#`agent | an agent, and its number of simulations |
//! | | `objective#`objective | the newest version of an objective |
//! | | `version#`objective`#`version | one version, never changed |
//! | | `monitor#`monitor | a monitor |
//! | | `batch#`batch | a batch, with the counts of its items |
//! | | `webhooks` | the webhooks of the project, at most 20 |
//! | | *order*`#agent#`…, `#objective#`…, `#monitor#`…, `#batch#`…, `#simulation#`… | their entries, and those of simulations |
//! | project`#`batch | `items` | the statuses of its items, at most 350 KB |
//! | | `defaults`, `part#`number | the settings of its simulations, in parts of at most 256 KiB |
//! | project`#`monitor | `run#`run, `by-made#run#`… | a run of a monitor, and its entry. Removed by their `expires`, 400 days after its planned time |
//! | project`#`webhook | `delivery#`delivery, `by-made#delivery#`…, `by-status#`… | a delivery of a webhook, and its entries. Removed by their `expires`, 30 days after its creation |
//! | project`#`simulation | `simulation` | the simulation, with the versions it pins |
//! | | `record` | where the idempotency record of the request is that created the simulation |
//! | | `deleted` | a tombstone, from the deletion of the simulation until it is purged |
//! | | `numbers` | the taken numbers of conversations, one bit each |
//! | | `explicit-personas` | the personas that the caller wrote, at most 256 KiB |
//! | | `persona-number#`number | the reservation of a persona's number |
//! | | `evaluation-run#`run, `by-made#evaluation-run#`… | an evaluation run, and its entry |
//! | | `labels#`conversation | the labels of a conversation |
//! | project`#`simulation`#shard#`0 to 7 | `counts#`0 to 63 | a counter shard, with the simulation's revision. Eight, or more for a target of more than 1,023 conversations |
//! | | `persona#`persona, `by-made#persona#`… | a persona, and its entry |
//! | | `by-made#conversation#`… | the entry of a conversation, with its status. Written when the conversation is queued, starts, ends or settles |
//! | project`#`simulation`#queue` | `queued#`… | the entry of a queued conversation in the queue |
//! | project`#`simulation`#`conversation | `conversation` | a conversation, with the outcomes of its evaluations, where its replies under an `Idempotency-Key` are, and the names of its last writes |
//! | | `message#`attempt`#`position`#`part | the messages that one change added, from a position on, with the reply of the turn. Cut where one item would be too large |
//! | | `reply#`hash | a reply under an `Idempotency-Key` that was stored without messages, by the key's SHA-256. Removed by its `expires` |
//! | | `verdict#`attempt`#`objective`#`version | an evaluation |
//! | project`#`simulation`#`run`#`0 to 7 | `counts`, `result#`conversation | the counts of an evaluation run's results, and the results |
//! | project`#`simulation`#usage#`0 to 3 | day`#`purpose`#`model`#`writer | the simulation's usage of models that one process counted |
//! | project`#usage#`0 to 3 | day`#`key`#`purpose`#`model`#`writer | the same for the project |
//! | `jobs#`job | job | a job that waits or is claimed |
//! | `outbound-jobs#`job | job | one that calls an address of a user |
//! | `dead-jobs` | job | a buried job. Removed by its `expires` |
//! | `dead-jobs#list` | `by-made#`… | its entry |
//! | `keys` | key, `by-made#`… | a managed key, and its entry. Removed by their `expires`, 90 days after its end |
//! | `key-uses` | key | the key's usage, and when it was written. Removed with the key, if the key has an end |
//! | `key-calls` | hash | the answer to a request about keys under an `Idempotency-Key`. Removed by its `expires` |
//! | `idempotency#`hash | `record` | the same for other requests |
//! | `key-rates#`bucket | length`#`start | the number of requests in a window. Removed by its `expires` |
//! | `audit#`month | `entry#`sequence | an entry of the audit trail |
//! | `audit` | `head` | the number and hash of the last entry and of the last archived one, and the first number of each month |
//! | | `start` | says that the trail has begun |
//!
//! A partition takes 1,000 writes and 3,000 reads of a unit a second. So nothing that grows with the conversations of a
//! simulation, or with the requests of a stack, has one partition. Each conversation and each job has its own. Counts
//! and entries, which all conversations of a simulation write, are in shards by the hash of the conversation's id.
//! Personas' numbers are written once for each persona, whose generation takes a model seconds. Simulations, agents,
//! objectives, monitors and batches of a project share one partition, which only requests that create or change them
//! write. Without local indexes DynamoDB splits a partition that grows, so none is full at 10 GB.
//!
//! Everything below a simulation is found without a scan: its queue, its shards by their numbers, its conversations by
//! their entries, and its evaluation runs by theirs.
//!
//! Data written while keys are used, in `key-uses` and `key-rates`, is separate from the keys, so
//! that a role can be allowed to update those partitions alone (`dynamodb:LeadingKeys`).
//!
//! Every key of a project's data begins with the project's id, so an id of another project matches nothing. A value is
//! JSON in `body`. Beside it are only keys, attributes that lists filter by, due times, counters and revisions.
//! `schema` is the number of the item's form; a newer one than the reader's is refused. An item holds 400 KB. All but
//! messages, explicit personas and imports are far smaller by the bounds of the domain, and a larger body is refused
//! before it is sent.
//!
//! # Lists
//!
//! A list is read from *entries*: items in the list's partition whose sort key is an order's name, `#`, and the text
//! that sorts. An entry names its row, and has the attributes that the list filters by. It is written in the
//! transaction that writes the row, so a list, which is read consistently, shows what was written before the request.
//! It is written again when one of its attributes changes, and moves when its text changes.
//!
//! | order | sorts | filters |
//! |---|---|---|
//! | `by-made` | projects, agents, objectives, simulations, monitors and their runs, batches, deliveries of webhooks, evaluation runs, personas, conversations, buried jobs, managed keys, by time | `folded`, `facets`, `agent`, `status`, `unsettled`, `end` |
//! | `by-name` | projects, agents, objectives, simulations, monitors, batches by folded name | `folded`, `facets`, `agent`, `status` |
//! | `by-status` | simulations and deliveries of webhooks by status, then by time | `folded`, `facets`, `agent` |
//! | `queued` | queued conversations, longest waiting first | |
//!
//! The global index `by-due` sorts by (`lane`, `due`), for searches over all projects, and lags. Its lanes are 16
//! shards of marks of leases, up to 32 of jobs, as configured, and four each of expiries, ends of simulations whose
//! transcripts are not deleted, deletions of simulations, and next planned times of monitors.
//!
//! Alternatives were local indexes, which bind all that they sort to one partition that DynamoDB cannot split, and
//! global indexes, which lag: workers and users would not see new conversations for a moment. An entry
//! costs about what an index would.
//!
//! The conversations and personas of a simulation are listed from all its shards at once, and merged. A conversation's
//! entry keeps its place and changes its status, so a list of one status reads the entries of all: 500 read units for
//! 10,000 conversations. The queue, which workers poll, has entries of its own, which are deleted when
//! a conversation starts. Evaluation runs, runs of monitors, deliveries of webhooks and buried jobs are few, and each
//! list is in one partition.
//!
//! # Access
//!
//! All reads except those of `by-due` and of the agent and persona of a reply are consistent. A *snapshot* is
//! `TransactGetItems`: a decision sees items of one moment, and never the middle of a transaction. Otherwise a job
//! could run before the change that enqueued it is visible.
//!
//! | method | calls |
//! |---|---|
//! | `insert_project`, `insert_agent`, `insert_objective` | one transaction with the entries, if the id is new |
//! | `project`, `open_project`, `agent`, `objective`, `persona` | `GetItem`; an opened project is remembered |
//! | `turn` | `GetItem` of the conversation, which says where the reply is; `GetItem` of it if there is one |
//! | `projects`, `agents`, `objectives`, `personas` | `Query` of entries, of personas one a shard, then `BatchGetItem` of 51 rows at a time; for a given set of projects only the latter |
//! | `note_agent_poll` | one conditional `UpdateItem` of one attribute, which returns nothing |
//! | `change_project`, `change_agent`, `change_objective` | `GetItem`; transaction on its revision, with entries that move |
//! | `insert_simulation` | `BatchGetItem` of the versions; transaction: simulation, the agent's count, counter shards, entries, explicit personas, jobs, where the idempotency record is; of a monitor or a batch also a check that there is no tombstone |
//! | `simulation` | `GetItem`, then `BatchGetItem` of agent and versions |
//! | `simulations` | `Query` of entries; for the longest waiting also one of the queue of each running simulation; then `BatchGetItem` of 51 simulations at a time, and of their agents |
//! | `change_simulation` | snapshot of simulation and eight counter shards, and once more if there are more; transaction: simulation on its revision, entries that change, counter shards, jobs |
//! | `delete_simulation` | `GetItem`; transaction: simulation on its revision, tombstone, the agent's count, entries, counter shards |
//! | `purge_simulation` | `GetItem` of the tombstone; a `Query` of each partition below the simulation, and a `DeleteItem` for each item; at last a `Query` of all buried jobs |
//! | `add_usage` | two `PutItem`s of this process's totals |
//! | `usage_of_simulation`, `usage` | a `Query` a shard |
//! | `counts` | the same snapshots |
//! | `add_persona` | transaction: persona and number if new, its entry, its counter shard, jobs |
//! | `explicit_personas` | `GetItem` |
//! | `insert_import` | that of `insert_simulation`, with the conversations in at most six parts |
//! | `waiting_import` | `Query` of the parts |
//! | `delete_import` | `Query` of the parts, then a `DeleteItem` for each, the first one first |
//! | `persona_seqs` | `Query` of the keys of numbers |
//! | `change_persona` | snapshot of simulation and persona; transaction: persona on its revision, its counter shard on the simulation's, jobs |
//! | `add_conversations` | snapshot of simulation and numbers; transactions of 24: conversations, their entries, numbers on their revision, counter shards on the simulation's |
//! | `conversation` | `GetItem`; `BatchGetItem` of the persona and a counter shard, and with evaluations of these, the simulation and the versions |
//! | `conversations` | a `Query` a shard, or of the queue; then `BatchGetItem` of 21 conversations at a time, and of their personas and evaluations; with evaluations, once the simulation and the versions that it pins |
//! | `unsettled_conversations` | a `Query` a shard; `BatchGetItem` of a counter shard if one is found |
//! | `queued_conversations` | `Query` of running simulations; one of the queue of each |
//! | `change_conversation`, a turn | `BatchGetItem` of conversation and counter shard, or of the simulation if this process does not know its present revision; or if this process claimed the turn `GetItem` of the counter shard, at the same time as `PutItem` of the messages; then `PutItem` of the conversation on its revision; with a claim at the same time the calls of `reply_context` |
//! | `change_conversation`, others | the same read, or a snapshot if that led to no change; transaction: conversation on its revision, its entries that change, its counter shard on the simulation's, messages, evaluations, jobs |
//! | `reply_context` | nothing if the claim of the turn was of this process; else at once: `BatchGetItem` of agent and persona, not consistent; `Query` of the messages |
//! | `insert_evaluation_run` | transaction: run if new, its entry, a check of the simulation, jobs |
//! | `evaluation_run` | `BatchGetItem` of run and counter shards |
//! | `evaluation_runs` | `Query` of entries; then `BatchGetItem` of 21 runs at a time, and of their counter shards |
//! | `change_evaluation_run` | `BatchGetItem` of run and counter shards; transaction: run on its revision, jobs |
//! | `add_run_result` | transaction: result if new, its counter shard, checks of run and conversation |
//! | `run_result`, `conversation_labels` | `GetItem` |
//! | `run_results` | a `Query` a shard |
//! | `labels` | `Query` |
//! | `put_labels` | transaction: labels, a check of the conversation |
//! | `items` | `GetItem` of the conversation, which says how many there are; `Query` up to the page's last; `GetItem` of the simulation if messages are missing |
//! | `delete_transcript` | `Query` of messages, replies and evaluations; a `DeleteItem` or `UpdateItem` for each item |
//! | `enqueue`, `complete_job`, `retry_job`, `postpone_job` | conditional `UpdateItem` or `DeleteItem` |
//! | `claim_jobs` | two `Query`s of `by-due` a shard, not consistent, a thousand entries at most, then a conditional `UpdateItem` for each |
//! | `resend_jobs` | the same `Query`s of all 32 shards that there may be, then a conditional `UpdateItem` for each |
//! | `claim_job` | `GetItem`, then a conditional `UpdateItem` |
//! | `bury_job` | `BatchGetItem`; transaction of the job, the dead job and its entry |
//! | `next_job_due` | one `Query` of `by-due` a shard, a thousand entries at most |
//! | `dead_jobs` | `Query` of entries, then `BatchGetItem` of 51 rows at a time |
//! | `dead_job` | `GetItem` |
//! | `insert_monitor` | one transaction with the entries, if the id is new |
//! | `monitor`, `monitor_run` | `GetItem` |
//! | `monitors`, `monitor_runs` | `Query` of entries, then `BatchGetItem` of 51 rows at a time |
//! | `change_monitor` | `GetItem`; transaction: monitor on its revision, entries that move, run if new with its entry, jobs; if the run exists, monitor alone |
//! | `change_monitor_run` | `GetItem`; transaction on its revision, with jobs |
//! | `delete_monitor` | `GetItem`; transaction on its revision, with the entries |
//! | `webhooks`, `webhook_delivery` | `GetItem` |
//! | `change_webhooks` | `GetItem`; `PutItem` or transaction on its revision |
//! | `add_webhook_delivery` | one transaction with the entries and jobs, if the id is new |
//! | `webhook_deliveries` | `Query` of entries, then `BatchGetItem` of 51 rows at a time |
//! | `pending_webhook_deliveries` | `Query` of entries |
//! | `change_webhook_delivery` | `GetItem`; transaction on its revision, with entries that move and jobs |
//! | `insert_batch` | one transaction, if the id is new: batch, entries, statuses, defaults, parts, jobs; at most 40 items and 2.5 MB |
//! | `batch`, `batch_items` | `GetItem` |
//! | `batch_part` | `BatchGetItem` of defaults and part |
//! | `batches` | `Query` of entries, then `BatchGetItem` of 51 rows at a time |
//! | `change_batch` | snapshot of batch and statuses; transaction: both on their revisions, jobs |
//! | `overdue` | one `Query` of `by-due` a shard, not consistent, a thousand marks at most; `BatchGetItem` of their conversations, and of a counter shard of each; `UpdateItem` of each mark that came too early |
//! | `due_monitors`, `simulations_with_old_transcripts`, `deleted_simulations` | one `Query` of `by-due` a shard, not consistent |
//! | `insert_key` | `GetItem` of the caller and the head; `Query` of entries for the live keys; transaction: key, its entry and idempotency record if new, the caller's revision checked, head if unchanged, entry, jobs |
//! | `key`, `idempotency_record` | `GetItem` |
//! | `delete_expired_records` | nothing: DynamoDB removes them |
//! | `key_view` | two `GetItem` |
//! | `keys` | `Query` of entries and `BatchGetItem` of 51 keys at a time and their uses, until the page is full |
//! | `change_key` | `GetItem` of the key, the caller and the head; transaction: key on its revision, the caller's revision checked, head if unchanged, entry, jobs; in a rotation also the new key and the idempotency record, after a `Query` of entries for the live keys |
//! | `add_key_use` | two `GetItem`; transaction of the usage on its revision |
//! | `count_request` | one conditional `UpdateItem` |
//! | `audit` | `GetItem` of the head, `Query` from the page's first entry to its last in each of their months; if an entry is missing, the head again |
//! | `set_audit_archived` | `GetItem` of the head and of the entry; `UpdateItem` of the head, if it is unchanged |
//! | `delete_archived_audit` | `GetItem` of the head; if its first month begins with an archived entry, `Query` of that month, a `DeleteItem` for each archived entry, and `UpdateItem` of the head |
//!
//! # Pages
//!
//! A list reads the page's entries, then the rows in groups, until the
//! page is full of rows or of bytes. It holds no more than a page and a group, and of a filtered list an answer of
//! each partition. A row that left the
//! list meanwhile is left out, and the entries after it are read.
//!
//! A position consists of the names of list and order, and the text that sorts. A query of each of the list's
//! partitions starts after it (`ExclusiveStartKey`). The partition is always the query's own, and the rest must lie
//! within the query's range, so a forged position reaches nothing else. For a simulation that waits for a worker, the
//! position holds the time since when it waits. For messages and entries of the audit trail it is their number.
//!
//! A page may have an `offset`, which DynamoDB does not know. The entries before the page are counted (`Select:
//! COUNT`), some thousand in a call; with a filter their keys are read and skipped, as they are in a list of several
//! partitions. A name filter reads all names of the project, or of the status. The size of the project or simulation
//! bounds both. Messages and the audit trail skip without reading.
//!
//! # Reads that lag
//!
//! Agent and persona of a reply are read at half the price: a change of the last second may be missing.
//!
//! `by-due` lags for moments. A lease that was renewed or ended may still be listed as
//! overdue; the decision about it reads the stored state and refuses. A lease that has just expired
//! may not be listed yet; the next query lists it. A page that is read while its rows change shows
//! several moments, and leaves out a conversation that no longer has the filter's status.
//!
//! # Turns
//!
//! A turn is claimed, and then completed with its messages. Nothing else must be true together with either, so
//! neither is a transaction, which would cost twice as much. The claim is one `PutItem` of the conversation on its
//! revision. The completion puts the messages first, where nobody reads them, because the conversation says how many
//! there are. Then it puts the conversation on its revision, and so makes them count. If the process dies in between,
//! the next completion puts its messages in the same place: they have a greater *fence*, the revision that their
//! change will make. Messages with a smaller fence never replace those with a greater one, so a late process changes
//! nothing. A conversation remembers the random names of its last eight writes, by which a write that is repeated
//! after a lost answer recognizes itself.
//!
//! The completion of a turn is decided from the state that the claim has read and written, if the same process claimed
//! it: neither conversation nor simulation is read again. The conversation's counter shard, which has the simulation's
//! revision, is read while the messages are put. If it has another revision than the claim saw, the completion is
//! decided again.
//!
//! A simulation may be cancelled between the last look at it and the write of a turn. The turn is then written as if it
//! had come before. Whatever moves a count, such as a start or an end, checks the simulation's revision.
//!
//! The lease of a conversation is renewed by both writes. Its *mark* in `by-due` stays: it says when the tick looks
//! at the conversation, and the tick moves it if the lease is longer by then. So an entry of that index is written
//! when a conversation starts and when it ends.
//!
//! Usage of models is counted without a common item: each process has items of its own, and puts their totals.
//!
//! # Contention
//!
//! DynamoDB cancels concurrent transactions that touch the same item. So changes of conversations
//! do not check their simulation, but one of its 8 to 64 *counter shards*. It has the
//! simulation's revision and the counts of the conversations whose ids belong to it. A change of the
//! simulation is rare, and writes all of them. The write that settles the last conversation of a shard
//! adds the job that finishes the simulation, because the last conversation of all is also the last
//! of its shard. So a simulation enqueues that job once for each shard, and needs no item that all
//! settlements write to.
//!
//! All changes of keys meet at the head of the audit trail, because the trail has one order. Its entries are in a
//! partition for each month, so that it may grow without end and a month may be archived. Of two concurrent changes,
//! one is canceled, seals its entry to the new head, and is retried. The conditions of its decision still apply.
//!
//! Canceled, throttled and lost calls are retried with jitter for eight seconds; then the store is
//! unavailable. An attempt without a reply within three seconds counts as lost. A transaction that
//! is repeated because its reply was lost has the same token, and so is applied once. A claim of a
//! job writes the claimer's name, by which a retry recognizes its own claim. The client must not
//! retry as well: see [`configure`].
//!
//! # Deletions
//!
//! A deletion replaces a simulation by a tombstone, and deletes its counter shards in the same transaction. So no
//! change that checks a shard is written any more, and a conversation without its shard is not shown. Only messages
//! and usage are written without a check. They may come from calls that began before, so the engine purges after
//! those.
//!
//! # Jobs on a stream
//!
//! A new job is an item inserted under a `pk` that begins with `jobs#`, or with `outbound-jobs#` if it
//! calls an address of a user. A job that is to run again is modified, and its `due` begins with `0#`
//! again. A buried job is inserted or modified under the `pk` `dead-jobs`. Filters of the table's stream
//! need no more than these.

mod api_keys;
mod audit;
mod config;
mod counts;
mod database;
mod entries;
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
