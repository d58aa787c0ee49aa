//! Conversations: queued, listed, started, and queued again after a lost lease.

use onerun_domain::{
    Conversation, ConversationId, ConversationStatus, EndReason, EndedAttempt, EvaluationStatus,
    FailureReason, Item, Job, MAX_LOST_ATTEMPTS, Outcome, Refusal, Role, SimulationId, SimulationStatus,
    TurnClaim, TurnToken, Work,
};

use super::fixture::{
    CLAIM, Fixture, LEASE, ROUNDS, Scene, all, at_once, both, in_pages, part, refusal, turn,
};
use crate::{ChangeError, ConversationChange, ConversationSummary, EvaluatedConversation, ListConversations};

impl Scene {
    async fn listed(&self, status: Option<ConversationStatus>) -> Vec<ConversationSummary> {
        self.list(ListConversations { status, outcome: None, page: all() }).await.data
    }

    async fn seqs_in(&self, status: Option<ConversationStatus>) -> Vec<u32> {
        self.listed(status).await.iter().map(|listed| listed.conversation.seq).collect()
    }

    async fn unsettled(&self, limit: u32) -> Vec<ConversationId> {
        self.store().unsettled_conversations(&self.simulation.id, limit).await.unwrap()
    }
}

/// A queued conversation is stored verbatim, and reads the same alone and in a list, with its
/// persona.
pub async fn conversation_is_read_as_added(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let conversation = scene.conversations[0].clone();
    let expected =
        EvaluatedConversation { conversation, persona: scene.persona.clone(), evaluations: Vec::new() };
    assert_eq!(scene.read(&scene.id(0)).await, expected);
    assert_eq!(scene.listed(None).await, [expected.into()]);
}

/// Every state that a decision returns is returned and stored, field for field.
pub async fn every_state_of_a_conversation_is_stored(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let stored = scene.conversations[0].clone();
    let now = fixture.now();
    // Final states also count in the simulation's progress.
    let mut states = Vec::new();
    for end_reason in EndReason::ALL {
        for evaluation_status in [EvaluationStatus::Pending, EvaluationStatus::InProgress] {
            states.push(Conversation {
                status: ConversationStatus::Ended,
                end_reason: Some(end_reason),
                evaluation_status,
                ..stored.clone()
            });
        }
    }
    let held = Conversation {
        status: ConversationStatus::InProgress,
        lease_expires_at: Some(now + LEASE),
        ..stored.clone()
    };
    let token = TurnToken::restore("'\u{1f600}%".into());
    states.push(Conversation {
        attempt: 3,
        item_count: 200,
        turn: Some(TurnClaim { token, expires_at: now + CLAIM }),
        queued_at: fixture.now(),
        updated_at: fixture.now(),
        ..held.clone()
    });
    states.push(held.clone());
    let ended_attempts = EndReason::ALL.map(|end_reason| EndedAttempt {
        attempt: 1,
        end_reason,
        failure_reason: (end_reason == EndReason::LeaseExpired).then(|| "'\u{1f600}%\n\"".to_owned()),
        ended_at: now,
    });
    states.push(Conversation { ended_attempts: ended_attempts.to_vec(), ..held });
    states.push(Conversation { attempt: 2, queued_at: fixture.now(), ..stored.clone() });
    states.push(stored);
    for state in states {
        let next = state.clone();
        let changed = scene.move_to(&id, move |_| Ok(next.clone())).await.unwrap();
        assert_eq!(changed, state);
        assert_eq!(scene.stored(&id).await, state);
        assert_eq!(scene.listed(Some(state.status)).await[0].conversation, state);
    }
}

/// Queueing may be repeated, in part or completely: the first conversation of a number stays, in
/// its current state.
pub async fn second_conversation_of_a_number_is_ignored(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    let started = scene.start(&scene.id(0)).await.unwrap();
    let again: Vec<_> = (1..=3).map(|seq| scene.conversation(seq)).collect();
    scene.add(&again).await.unwrap();
    scene.add(&again).await.unwrap();
    scene.add(&[]).await.unwrap();
    assert_eq!(scene.stored(&scene.id(0)).await, started);
    let all: Vec<_> = scene.listed(None).await.into_iter().map(|listed| listed.conversation).collect();
    assert_eq!(all.len(), 3);
    for expected in [&started, &scene.conversations[1], &again[2]] {
        assert!(all.contains(expected), "{expected:?} is not in {all:?}");
    }
    for repeated in &again[..2] {
        assert_eq!(scene.store().conversation(&scene.simulation.id, &repeated.id).await.unwrap(), None);
    }
}

/// Two concurrent writers of overlapping numbers leave one conversation for each number.
pub async fn concurrent_queueing_queues_conversations_once(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for round in 0..ROUNDS {
        let [first, second] = [0, 2].map(|shift| {
            let scene = scene.clone();
            let queued: Vec<_> = (1..=4).map(|seq| scene.conversation(round * 6 + shift + seq)).collect();
            async move { scene.add(&queued).await }
        });
        let (first, second) = both(first, second).await;
        first.unwrap();
        second.unwrap();
        let mut seqs = scene.seqs_in(None).await;
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=(round + 1) * 6).collect::<Vec<_>>());
    }
}

/// Queueing in a simulation that is not running is refused, and the refusal names its status.
pub async fn conversations_are_queued_only_while_the_simulation_runs(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    for status in SimulationStatus::ALL {
        scene
            .change_simulation(move |view| {
                let simulation = onerun_domain::Simulation { status, ..view.simulation };
                Ok(crate::SimulationChange::to(simulation, Vec::new()))
            })
            .await
            .unwrap();
        let added = scene.add(&[scene.conversation(2)]).await;
        if status == SimulationStatus::InProgress {
            added.unwrap();
        } else {
            assert_eq!(refusal(added), Refusal::SimulationNotRunning { status });
            assert!(scene.seqs_in(None).await.len() <= 2);
        }
        let expected = if status < SimulationStatus::InProgress { vec![1] } else { vec![2, 1] };
        assert_eq!(scene.seqs_in(None).await, expected);
    }
}

/// A simulation that is canceled while its conversations are queued has all of them or none, and
/// later queueing is refused.
pub async fn no_conversation_is_queued_after_a_cancel(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS {
        let scene = project.scene(0).await;
        let (adding, canceling) = (scene.clone(), scene.clone());
        let (added, seen) = both(
            async move {
                let queued: Vec<_> = (1..=5).map(|seq| adding.conversation(seq)).collect();
                adding.add(&queued).await
            },
            async move {
                canceling.cancel().await.unwrap();
                canceling.seqs_in(None).await.len()
            },
        )
        .await;
        let expected = if added.is_ok() {
            5
        } else {
            let status = SimulationStatus::Canceled;
            assert_eq!(refusal(added), Refusal::SimulationNotRunning { status });
            0
        };
        assert_eq!((seen, scene.seqs_in(None).await.len()), (expected, expected));
    }
}

/// Reads and changes of an unknown conversation return `None`; the decision is not called.
pub async fn unknown_conversation_is_none(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let (store, simulation) = (scene.store(), &scene.simulation.id);
    let nowhere = SimulationId::generate(fixture.random());
    let nobody = ConversationId::generate(fixture.random());
    let id = scene.id(0);
    for (simulation, id) in [(simulation, &nobody), (&nowhere, &id)] {
        assert_eq!(store.conversation(simulation, id).await.unwrap(), None);
        let refuse = Box::new(|_| Err(Refusal::LeaseHeld));
        assert_eq!(store.change_conversation(simulation, id, refuse).await.unwrap(), None);
        assert_eq!(store.items(simulation, id, 1, all()).await.unwrap().data, []);
        assert_eq!(store.turn(simulation, id, "key").await.unwrap(), None);
    }
    let list = ListConversations { status: None, outcome: None, page: all() };
    assert_eq!(store.conversations(&nowhere, list).await.unwrap().data, []);
    assert_eq!(store.unsettled_conversations(&nowhere, 10).await.unwrap(), Vec::new());
}

/// Newest first. With equal times, each conversation is still on exactly one page.
pub async fn conversations_are_listed_newest_first(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    let now = fixture.now();
    let equal: Vec<_> =
        (4..=6).map(|seq| Conversation { created_at: now, ..scene.conversation(seq) }).collect();
    scene.add(&equal).await.unwrap();
    scene.add(&[scene.conversation(7)]).await.unwrap();
    // Later changes do not move it in the list.
    scene.start(&scene.id(0)).await.unwrap();
    let whole = scene.listed(None).await;
    let mut seqs = scene.seqs_in(None).await;
    assert_eq!((seqs[0], &seqs[4..]), (7, &[3, 2, 1][..]));
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=7).collect::<Vec<_>>());
    for limit in [1, 2, 7, 8] {
        let list = |page| ListConversations { status: None, outcome: None, page };
        assert_eq!(in_pages(limit, async |page| scene.list(list(page)).await).await, whole);
    }
}

/// A status filters the list. Conversations that are not queued are still sorted newest first.
pub async fn conversations_are_filtered_by_status(fixture: &Fixture) {
    let scene = fixture.scene(8).await;
    for index in [2, 0, 1] {
        scene.start(&scene.id(index)).await.unwrap();
    }
    for index in [4, 3] {
        scene.hold(&scene.id(index)).await;
    }
    scene.cancel().await.unwrap();
    for index in [5, 6] {
        scene.stop(&scene.id(index)).await.unwrap();
    }
    for (status, expected) in [
        (ConversationStatus::Queued, vec![8]),
        (ConversationStatus::InProgress, vec![3, 2, 1]),
        (ConversationStatus::Ended, vec![5, 4]),
        (ConversationStatus::Failed, vec![7, 6]),
    ] {
        assert_eq!(scene.seqs_in(Some(status)).await, expected);
        let list = |page| ListConversations { status: Some(status), outcome: None, page };
        let pages = in_pages(1, async |page| scene.list(list(page)).await).await;
        assert_eq!(pages, scene.listed(Some(status)).await);
    }
}

/// A list of queued conversations has the longest waiting first. One that is queued again starts to
/// wait anew.
pub async fn queued_conversations_are_sorted_by_waiting_time(fixture: &Fixture) {
    let scene = fixture.scene(4).await;
    let queued = Some(ConversationStatus::Queued);
    assert_eq!(scene.seqs_in(queued).await, [1, 2, 3, 4]);
    for index in [0, 2] {
        scene.start(&scene.id(index)).await.unwrap();
    }
    scene.lose_lease(&scene.id(2)).await.unwrap();
    assert_eq!(scene.seqs_in(queued).await, [2, 4, 3]);
    scene.lose_lease(&scene.id(0)).await.unwrap();
    assert_eq!(scene.seqs_in(queued).await, [2, 4, 3, 1]);
    assert_eq!(scene.seqs_in(None).await, [4, 3, 2, 1]);
    for limit in [1, 2, 4] {
        let list = |page| ListConversations { status: queued, outcome: None, page };
        let pages = in_pages(limit, async |page| scene.list(list(page)).await).await;
        assert_eq!(pages, scene.listed(queued).await);
    }
}

/// With equal waiting times, each conversation is still on exactly one page.
pub async fn pages_of_equally_long_waiting_conversations_never_overlap(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let now = fixture.now();
    let equal: Vec<_> = (1..=6)
        .map(|seq| Conversation { queued_at: now, created_at: now, ..scene.conversation(seq) })
        .collect();
    scene.add(&equal).await.unwrap();
    let status = Some(ConversationStatus::Queued);
    let whole = scene.listed(status).await;
    let mut seqs = scene.seqs_in(status).await;
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    for limit in [1, 4, 6] {
        let list = |page| ListConversations { status, outcome: None, page };
        assert_eq!(in_pages(limit, async |page| scene.list(list(page)).await).await, whole);
    }
}

/// A page reports whether more rows follow, and a page beyond the end is empty.
pub async fn page_reports_whether_more_follow(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    for (limit, offset, size, has_more) in [
        (1, 0, 1, true),
        (2, 1, 2, false),
        (3, 0, 3, false),
        (1, 2, 1, false),
        (5, 3, 0, false),
        (5, 4_000_000_000, 0, false),
    ] {
        let page =
            scene.list(ListConversations { status: None, outcome: None, page: part(limit, offset) }).await;
        assert_eq!((page.data.len(), page.has_more()), (size, has_more), "{limit} after {offset}");
    }
}

/// Of two workers that start one conversation concurrently, one gets it and the other is refused.
pub async fn conversation_is_started_by_one_of_two_workers(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS * 2).await;
    for conversation in &scene.conversations {
        let [one, other] = [0, 1].map(|_| {
            let (scene, id) = (scene.clone(), conversation.id.clone());
            async move { scene.start(&id).await }
        });
        let (first, second) = both(one, other).await;
        let (winner, loser) = if first.is_ok() { (first, second) } else { (second, first) };
        let status = ConversationStatus::InProgress;
        assert_eq!(refusal(loser), Refusal::ConversationNotQueued { status });
        assert_eq!(scene.stored(&conversation.id).await, winner.unwrap());
    }
}

/// A start that races with the cancel of its simulation succeeds before the cancel, or is refused.
pub async fn no_conversation_is_started_after_a_cancel(fixture: &Fixture) {
    let project = fixture.new_project().await;
    for _ in 0..ROUNDS {
        let scene = project.scene(1).await;
        let (starting, canceling) = (scene.clone(), scene.clone());
        let (started, after_cancel) =
            both(async move { starting.start(&starting.id(0)).await }, async move {
                canceling.cancel().await.unwrap();
                canceling.stored(&canceling.id(0)).await
            })
            .await;
        assert_eq!(scene.stored(&scene.id(0)).await, after_cancel, "something was written after the cancel");
        match started {
            Ok(started) => assert_eq!(after_cancel, started),
            started => {
                let status = SimulationStatus::Canceled;
                assert_eq!(refusal(started), Refusal::SimulationNotRunning { status });
                assert_eq!(after_cancel, scene.conversations[0]);
            }
        }
    }
}

/// Many workers that start the longest waiting conversation start each conversation once.
pub async fn many_workers_share_a_queue(fixture: &Fixture) {
    let scene = fixture.scene(24).await;
    let tasks = (0..4).map(|_| {
        let scene = scene.clone();
        Box::pin(async move {
            let mut started = Vec::new();
            loop {
                let queued = scene.listed(Some(ConversationStatus::Queued)).await;
                let Some(first) = queued.into_iter().next() else { return started };
                match scene.start(&first.conversation.id).await {
                    Ok(conversation) => started.push(conversation.seq),
                    Err(ChangeError::Refused(Refusal::ConversationNotQueued { .. })) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        }) as _
    });
    let mut started: Vec<u32> = at_once(tasks.collect()).await.into_iter().flatten().collect();
    started.sort_unstable();
    assert_eq!(started, (1..=24).collect::<Vec<_>>());
}

/// State, messages, reply, evaluations and jobs of one change are all written.
pub async fn conversation_change_is_written_completely(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.hold(&id).await;
    let held = scene.stored(&id).await;
    let now = fixture.now();
    let items = vec![scene.item(&held, Role::User, "bye"), {
        let item = scene.item(&held, Role::Assistant, "goodbye");
        Item { position: 1, ..item }
    }];
    let evaluations: Vec<_> = scene
        .objectives
        .iter()
        .map(|objective| scene.evaluation(&held, objective, Outcome::Passed))
        .collect();
    let mut jobs = [
        Work::JudgeConversation {
            simulation: scene.simulation.id.clone(),
            conversation: id.clone(),
            attempt: 1,
        },
        Work::FinishSimulation { simulation: scene.simulation.id.clone() },
    ]
    .map(|work| Job::new(scene.project.id.clone(), work));
    let conversation = Conversation {
        item_count: 2,
        evaluation_status: EvaluationStatus::Completed,
        updated_at: now,
        ..held
    };
    let change = ConversationChange {
        conversation: conversation.clone(),
        items: items.clone(),
        turn: Some(turn("one", 1)),
        unless_replied: None,
        evaluations: evaluations.clone(),
        jobs: jobs.to_vec(),
        record: None,
    };
    assert_eq!(scene.change(&id, move |_| Ok(change.clone())).await.unwrap(), conversation);
    let read = scene.read(&id).await;
    assert_eq!(read.conversation, conversation);
    assert_eq!(read.evaluations, evaluations.into_iter().zip(scene.objectives.clone()).collect::<Vec<_>>());
    assert_eq!(scene.items(&id, 1).await, items);
    assert_eq!(scene.turn(&id, "one").await, Some(turn("one", 1)));
    assert_eq!(scene.progress().await.settled, 1);
    let mut taken = fixture.take_jobs().await;
    taken.sort_by(|one, other| one.id.cmp(&other.id));
    jobs.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(taken, jobs);
}

/// The refusal is returned, and neither state, messages, reply, evaluations nor jobs are written.
pub async fn refused_change_of_a_conversation_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = asked.clone();
    let refused = scene.change(&id, move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err::<ConversationChange, _>(Refusal::LeaseHeld)
    });
    assert_eq!(refusal(refused.await), Refusal::LeaseHeld);
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) >= 1);
    assert_eq!(refusal(scene.end(&id).await), Refusal::ConversationNotStarted);
    assert_eq!(scene.stored(&id).await, scene.conversations[0]);
    assert_eq!(scene.progress().await, onerun_domain::Progress::default());
    assert_eq!(fixture.take_jobs().await, []);
}

/// A decision is called with the simulation and the conversation as they are stored.
pub async fn conversation_decision_sees_the_newest_state(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let started = scene.start(&id).await.unwrap();
    let canceled = scene.cancel().await.unwrap();
    scene
        .move_to(&id, move |view| {
            assert_eq!((&view.conversation, &view.simulation), (&started, &canceled));
            Ok(view.conversation)
        })
        .await
        .unwrap();
    let status = SimulationStatus::Canceled;
    assert_eq!(refusal(scene.end(&id).await), Refusal::SimulationNotRunning { status });
}

/// Each of many concurrent changes decides from the state that the change before it wrote.
pub async fn concurrent_conversation_changes_are_all_kept(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    let tasks = (0..16).map(|number| {
        let (scene, id) = (scene.clone(), id.clone());
        Box::pin(async move { scene.say(&id, &number.to_string()).await.unwrap().item_count }) as _
    });
    let mut counts = at_once(tasks.collect()).await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=16).collect::<Vec<u32>>());
    assert_eq!(scene.stored(&id).await.item_count, 16);
    let items = scene.items(&id, 1).await;
    assert_eq!(items.iter().map(|item| item.position).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    let mut words: Vec<u32> = items.iter().map(|item| item.text().parse().unwrap()).collect();
    words.sort_unstable();
    assert_eq!(words, (0..16).collect::<Vec<_>>());
}

/// A lost lease costs an attempt. After the last attempt, the conversation has failed.
pub async fn lost_lease_requeues_until_the_last_attempt(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    for attempt in 1..MAX_LOST_ATTEMPTS {
        scene.start(&id).await.unwrap();
        let lost = scene.lose_lease(&id).await.unwrap();
        assert_eq!((lost.status, lost.attempt), (ConversationStatus::Queued, attempt + 1));
        assert_eq!(scene.stored(&id).await, lost);
        assert_eq!(scene.unsettled(10).await, std::slice::from_ref(&id));
    }
    scene.start(&id).await.unwrap();
    let failed = scene.lose_lease(&id).await.unwrap();
    assert_eq!(failed.end_reason, Some(EndReason::LeaseExpired));
    assert_eq!(scene.stored(&id).await, failed);
    assert_eq!(scene.unsettled(10).await, Vec::new());
}

/// Two concurrent expiries of one lease cost one attempt.
pub async fn lease_is_lost_once(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for conversation in &scene.conversations {
        let id = &conversation.id;
        scene.start(id).await.unwrap();
        let now = scene.pass(LEASE);
        let [one, other] = [0, 1].map(|_| {
            let (scene, id) = (scene.clone(), id.clone());
            async move { scene.move_to(&id, move |view| view.conversation.lose_lease(now)).await }
        });
        let (first, second) = both(one, other).await;
        let (winner, loser) = if first.is_ok() { (first, second) } else { (second, first) };
        assert_eq!(refusal(loser), Refusal::LeaseHeld);
        assert_eq!(winner.unwrap().attempt, 2);
        assert_eq!(scene.stored(id).await.attempt, 2);
    }
}

/// A renewal that races with the expiry of the lease, the end or the failure of the attempt succeeds before it, or is
/// refused. An attempt is never over and renewed.
pub async fn attempt_is_renewed_or_over(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS * 3).await;
    for (index, conversation) in scene.conversations.iter().enumerate() {
        let id = &conversation.id;
        scene.start(id).await.unwrap();
        let now = scene.pass(LEASE);
        let (renewing, ending) = (scene.clone(), scene.clone());
        let (renewed_id, ended_id) = (id.clone(), id.clone());
        let (renewed, ended) = both(
            async move {
                renewing
                    .move_to(&renewed_id, move |view| {
                        view.conversation.renew(&view.simulation, 1, LEASE, now)
                    })
                    .await
            },
            async move {
                let reason = FailureReason::parse("out of memory".to_owned()).unwrap();
                ending
                    .move_to(&ended_id, move |view| match index % 3 {
                        0 => view.conversation.lose_lease(now),
                        1 => view.conversation.end(&view.simulation, Some(1), now),
                        _ => view.conversation.fail(&view.simulation, 1, &reason, now),
                    })
                    .await
            },
        )
        .await;
        let stored = scene.stored(id).await;
        match (renewed, ended) {
            (Ok(renewed), Err(ended)) => {
                assert_eq!(refusal(Err::<(), _>(ended)), Refusal::LeaseHeld);
                assert_eq!(renewed.lease_expires_at, Some(now + LEASE));
                assert_eq!(stored, renewed);
            }
            // The renewal came first, or it was refused.
            (renewed, Ok(ended)) => {
                if let Err(refused) = renewed {
                    let expected =
                        [Refusal::StaleAttempt { current: 2 }, Refusal::AttemptOver { attempt: 1 }];
                    assert!(expected.contains(&refusal(Err::<(), _>(refused))));
                }
                assert_eq!(stored, ended);
                assert_eq!(stored.lease_expires_at, None);
            }
            (Err(renewed), Err(ended)) => panic!("{renewed:?}, {ended:?}"),
        }
    }
}

/// Conversations that are not settled are listed, up to the limit.
pub async fn unfinished_conversations_are_listed(fixture: &Fixture) {
    use super::fixture::Settled;
    let scene = fixture.scene(7).await;
    scene.settle(&scene.id(0), Settled::NotApplicable).await.unwrap();
    scene.settle(&scene.id(1), Settled::EvaluationFailed).await.unwrap();
    scene.settle(&scene.id(2), Settled::Evaluated(Vec::new())).await.unwrap();
    scene.start(&scene.id(3)).await.unwrap();
    scene.hold(&scene.id(4)).await;
    scene.hold(&scene.id(5)).await;
    scene.begin_evaluation(&scene.id(5)).await.unwrap();
    let mut unsettled = scene.unsettled(10).await;
    unsettled.sort();
    let mut expected: Vec<_> = (3..7).map(|index| scene.id(index)).collect();
    expected.sort();
    assert_eq!(unsettled, expected);
    assert_eq!(scene.unsettled(4).await.len(), 4);
    let part = scene.unsettled(3).await;
    assert_eq!(part.len(), 3);
    assert!(part.iter().all(|id| expected.contains(id)));
}
