//! Turns: claimed, completed, repeated; and their messages.

use onerun_domain::{
    Conversation, ConversationStatus, EndReason, Item, MessageText, Refusal, Role, TurnClaim, TurnToken,
};

use super::fixture::{
    CLAIM, Fixture, LEASE, ROUNDS, Scene, at_once, both, in_pages, is_duplicate, odd_texts, refusal, text,
    turn,
};
use crate::{ConversationChange, StoredReply, StoredTurn};

impl Scene {
    /// A running simulation whose first conversation has a reply under the idempotency key `one`.
    async fn answered(&self) -> Conversation {
        let (id, token) = (self.id(0), self.token());
        self.claim(&id, &token).await.unwrap();
        self.complete(&id, &token, Some("one"), None).await.unwrap()
    }
}

/// Messages are stored verbatim and in order, and read in pages.
pub async fn messages_are_read_as_written(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    scene.start(&id).await.unwrap();
    let mut contents: Vec<Vec<MessageText>> = odd_texts().iter().map(|words| vec![text(words)]).collect();
    contents.push(vec![text("")]);
    contents.push(vec![text("a\r\n\tb"), text(""), text("c")]);
    contents.push(vec![text(&"\u{1f600}".repeat(MessageText::MAX_LENGTH))]);
    let mut expected = Vec::new();
    for (number, content) in contents.into_iter().enumerate() {
        let role = if number % 2 == 0 { Role::Assistant } else { Role::User };
        let item = Item { content, ..scene.item(&scene.stored(&id).await, role, "") };
        expected.push(item.clone());
        let change = move |view: crate::ConversationView| {
            let item_count = view.conversation.item_count + 1;
            let conversation = Conversation { item_count, ..view.conversation };
            Ok(ConversationChange { items: vec![item.clone()], ..ConversationChange::to(conversation) })
        };
        scene.change(&id, change).await.unwrap();
    }
    assert_eq!(scene.items(&id, 1).await, expected);
    for limit in [1, 5, 100] {
        let pages = in_pages(limit, async |page| {
            scene.store().items(&scene.simulation.id, &id, 1, page).await.unwrap()
        });
        assert_eq!(pages.await, expected);
    }
}

/// State, messages and reply of a completed turn are all written.
pub async fn completed_turn_is_stored_atomically(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    let answered = scene.answered().await;
    let id = &answered.id;
    assert_eq!((answered.item_count, &answered.turn), (2, &None));
    assert_eq!(scene.stored(id).await, answered);
    let items = scene.items(id, 1).await;
    let said: Vec<_> = items.iter().map(|item| (item.position, item.role, item.text())).collect();
    assert_eq!(said, [(0, Role::Assistant, "a".into()), (1, Role::User, "b".into())]);
    assert_eq!(scene.turn(id, "one").await, Some(turn("one", 1)));
    assert_eq!(scene.items(&scene.id(1), 1).await, []);
}

/// Each reply is returned again under its idempotency key.
pub async fn replies_are_stored_verbatim_under_their_keys(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let mut turns = Vec::new();
    let mut keys = odd_texts();
    keys.extend(["One", "one", "one ", "\u{e9}", "e\u{301}"].map(str::to_owned));
    for (idempotency_key, number) in keys.into_iter().zip(0_u32..) {
        let text = match number % 3 {
            0 => None,
            1 => Some(String::new()),
            _ => Some(idempotency_key.repeat(3)),
        };
        let reply = StoredReply { text, ended: number % 2 == 0 };
        let input_hash = format!("{number:064x}");
        let (attempt, created_at) = (1 + number % 3, fixture.now());
        turns.push(StoredTurn { idempotency_key, input_hash, attempt, reply, created_at });
    }
    for turn in &turns {
        assert_eq!(scene.turn(&id, &turn.idempotency_key).await, None);
        let turn = turn.clone();
        let change = move |view: crate::ConversationView| {
            Ok(ConversationChange { turn: Some(turn.clone()), ..ConversationChange::to(view.conversation) })
        };
        scene.change(&id, change).await.unwrap();
    }
    for turn in turns {
        assert_eq!(scene.turn(&id, &turn.idempotency_key).await, Some(turn));
    }
    assert_eq!(scene.turn(&id, "").await, None);
}

/// A second reply under one idempotency key is refused, and nothing of its turn is written: no
/// state, message, evaluation or job.
pub async fn second_reply_under_one_key_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let answered = scene.answered().await;
    let id = &answered.id;
    let repeated = {
        let scene = scene.clone();
        move |view: crate::ConversationView| {
            let evaluation =
                scene.evaluation(&view.conversation, &scene.objectives[0], onerun_domain::Outcome::Passed);
            let work = onerun_domain::Work::FinishSimulation { simulation: scene.simulation.id.clone() };
            Ok(ConversationChange {
                conversation: Conversation { item_count: 3, ..view.conversation.clone() },
                items: vec![scene.item(&view.conversation, Role::Assistant, "again")],
                turn: Some(StoredTurn { input_hash: "ef".repeat(32), ..turn("one", 1) }),
                unless_replied: None,
                evaluations: vec![evaluation],
                jobs: vec![onerun_domain::Job::new(scene.project.id.clone(), work)],
                record: None,
            })
        }
    };
    assert!(is_duplicate(&scene.change(id, repeated).await));
    let read = scene.read(id).await;
    assert_eq!((read.conversation, read.evaluations), (answered.clone(), Vec::new()));
    assert_eq!(scene.items(id, 1).await.len(), 2);
    assert_eq!(scene.turn(id, "one").await, Some(turn("one", 1)));
    assert_eq!(fixture.take_jobs().await, []);
}

/// Each conversation has its own idempotency keys.
pub async fn two_conversations_may_use_one_key(fixture: &Fixture) {
    let scene = fixture.scene(2).await;
    for conversation in &scene.conversations {
        let token = scene.token();
        scene.claim(&conversation.id, &token).await.unwrap();
        assert_eq!(scene.turn(&conversation.id, "one").await, None);
        scene.complete(&conversation.id, &token, Some("one"), None).await.unwrap();
        assert_eq!(scene.turn(&conversation.id, "one").await, Some(turn("one", 1)));
    }
}

/// An idempotency key stays taken when its attempt is lost: the reply names its attempt.
pub async fn reply_outlives_its_attempt(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.answered().await.id;
    scene.lose_lease(&id).await.unwrap();
    scene.start(&id).await.unwrap();
    assert_eq!(scene.turn(&id, "one").await, Some(turn("one", 1)));
    let token = scene.token();
    scene.claim(&id, &token).await.unwrap();
    assert!(is_duplicate(&scene.complete(&id, &token, Some("one"), None).await));
    assert_eq!(scene.items(&id, 2).await, []);
    scene.complete(&id, &token, Some("two"), None).await.unwrap();
    assert_eq!(scene.turn(&id, "two").await, Some(turn("two", 2)));
}

/// The messages of a lost attempt are separate from those of the next, which starts with none.
pub async fn each_attempt_has_its_own_messages(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.answered().await.id;
    let first = scene.items(&id, 1).await;
    scene.lose_lease(&id).await.unwrap();
    assert_eq!(scene.items(&id, 2).await, []);
    scene.start(&id).await.unwrap();
    scene.say(&id, "second").await.unwrap();
    let second = scene.items(&id, 2).await;
    let said: Vec<_> = second.iter().map(|item| (item.attempt, item.position, item.text())).collect();
    assert_eq!(said, [(2, 0, "second".to_owned())]);
    assert_eq!(scene.items(&id, 1).await, first);
    assert_eq!(scene.items(&id, 3).await, []);
}

/// The context of a reply is the agent, the persona and the messages of the present attempt.
pub async fn context_of_a_reply_is_of_the_present_attempt(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let answered = scene.answered().await;
    let id = &answered.id;
    let context = async |conversation: &Conversation| {
        scene.store().reply_context(&scene.simulation, conversation).await.unwrap()
    };
    let found = context(&answered).await;
    assert_eq!(found.items, scene.items(id, 1).await);
    assert_eq!(found.persona, scene.read(id).await.persona);
    assert_eq!(found.agent.id, scene.simulation.agent_id);
    scene.lose_lease(id).await.unwrap();
    let started = scene.start(id).await.unwrap();
    assert_eq!(context(&started).await.items, []);
}

/// A change that must find no reply under an idempotency key is refused if there is one, and writes nothing.
pub async fn change_under_a_replied_key_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let answered = scene.answered().await;
    let id = &answered.id;
    let now = scene.pass(CLAIM);
    let change = async |key: &str| {
        let key = key.to_owned();
        let decide = move |view: crate::ConversationView| {
            let conversation = Conversation { updated_at: now, ..view.conversation };
            Ok(ConversationChange {
                unless_replied: Some(key.clone()),
                ..ConversationChange::to(conversation)
            })
        };
        scene.change(id, decide).await
    };
    assert!(is_duplicate(&change("one").await));
    assert_eq!(scene.stored(id).await, answered);
    let changed = change("two").await.unwrap();
    assert_eq!(changed.updated_at, now);
    assert_eq!(scene.stored(id).await, changed);
}

/// Of two concurrent calls, one claims the turn, and the other learns when the claim expires.
pub async fn turn_is_claimed_by_one_of_two_calls(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for conversation in &scene.conversations {
        let [one, other] = [0, 1].map(|_| {
            let (scene, id) = (scene.clone(), conversation.id.clone());
            async move {
                let token = scene.token();
                scene.claim(&id, &token).await
            }
        });
        let (first, second) = both(one, other).await;
        let (winner, loser) = if first.is_ok() { (first, second) } else { (second, first) };
        let winner = winner.unwrap();
        let until = winner.turn.as_ref().unwrap().expires_at;
        assert_eq!(refusal(loser), Refusal::TurnInProgress { until });
        assert_eq!(scene.stored(&conversation.id).await, winner);
    }
}

/// Many calls that retry until they have claimed the turn all succeed, and no message is lost or
/// duplicated.
pub async fn only_one_call_holds_the_turn(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.id(0);
    let tasks = (0..6).map(|number: u32| {
        let (scene, id) = (scene.clone(), id.clone());
        Box::pin(async move {
            let token = scene.token();
            loop {
                match scene.claim(&id, &token).await {
                    Ok(_) => break,
                    Err(crate::ChangeError::Refused(Refusal::TurnInProgress { .. })) => {
                        tokio::task::yield_now().await;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            scene.complete(&id, &token, Some(&number.to_string()), None).await.unwrap();
        }) as _
    });
    at_once(tasks.collect()).await;
    let items = scene.items(&id, 1).await;
    assert_eq!(items.iter().map(|item| item.position).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert_eq!(scene.stored(&id).await.item_count, 12);
    for number in 0..6 {
        assert!(scene.turn(&id, &number.to_string()).await.is_some());
    }
}

/// An undelivered reply stays with its conversation, also after the end, until it is delivered. It blocks only a
/// call with the same input, and does not keep an expired lease alive.
pub async fn undelivered_reply_stays_until_delivered(fixture: &Fixture) {
    let scene = fixture.scene(3).await;
    for (index, end) in [(0, None), (1, None), (2, Some(EndReason::PersonaDecided))] {
        let (id, token) = (scene.id(index), scene.token());
        scene.claim(&id, &token).await.unwrap();
        let completed = scene.complete_unheard(&id, &token, end).await.unwrap();
        assert!(completed.turn.as_ref().is_some_and(|turn| turn.token.is_undelivered()));
        assert_eq!(scene.stored(&id).await, completed);
        assert_eq!(refusal(scene.complete(&id, &token, None, None).await), Refusal::TurnLost);
    }
    let (kept, taken, ended) = (scene.id(0), scene.id(1), scene.id(2));
    let turn = scene.stored(&kept).await.turn.unwrap();
    let until = turn.expires_at;
    assert_eq!(refusal(scene.claim(&kept, &scene.token()).await), Refusal::TurnInProgress { until });
    let other = TurnToken::generate(&"cd".repeat(32), fixture.random());
    let claimed = scene.claim(&taken, &other).await.unwrap();
    assert_eq!(claimed.turn.map(|turn| turn.token), Some(other));
    let over = Refusal::ConversationOver { status: ConversationStatus::Ended };
    assert_eq!(refusal(scene.claim(&ended, &scene.token()).await), over);

    let now = fixture.now();
    let deliver =
        move |view: crate::ConversationView| view.conversation.deliver_reply(&turn.token, LEASE, now);
    let delivered = scene.move_to(&kept, deliver.clone()).await.unwrap();
    assert_eq!((&delivered.turn, delivered.item_count), (&None, 2));
    assert_eq!(refusal(scene.move_to(&kept, deliver).await), Refusal::TurnLost);
    let token = scene.token();
    scene.claim(&kept, &token).await.unwrap();
    let completed = scene.complete_unheard(&kept, &token, None).await.unwrap();
    let overdue = fixture.overdue(10, completed.lease_expires_at.unwrap()).await.conversations;
    assert!(overdue.contains(&scene.named(0)), "{overdue:?}");
}

/// A call whose claim was taken over comes too late: it is refused, and writes nothing.
pub async fn turn_taken_over_is_lost(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let (id, slow, quick) = (scene.id(0), scene.token(), scene.token());
    scene.claim(&id, &slow).await.unwrap();
    scene.pass(CLAIM);
    let claimed = scene.claim(&id, &quick).await.unwrap();
    assert_eq!(refusal(scene.complete(&id, &slow, Some("slow"), None).await), Refusal::TurnLost);
    assert_eq!(scene.stored(&id).await, claimed);
    assert_eq!(scene.items(&id, 1).await, []);
    assert_eq!(scene.turn(&id, "slow").await, None);
    scene.complete(&id, &quick, Some("quick"), None).await.unwrap();
    assert_eq!(scene.items(&id, 1).await.len(), 2);
}

/// Of two concurrent replies under one idempotency key, one is stored completely and the other not
/// at all.
pub async fn concurrent_replies_under_one_key_store_one(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for conversation in &scene.conversations {
        let id = &conversation.id;
        scene.start(id).await.unwrap();
        let [one, other] = ["x", "y"].map(|words| {
            let (scene, id) = (scene.clone(), id.clone());
            async move {
                let decide = {
                    let scene = scene.clone();
                    move |view: crate::ConversationView| {
                        let item = scene.item(&view.conversation, Role::Assistant, words);
                        let reply = StoredReply { text: Some(words.into()), ended: false };
                        let turn = StoredTurn { reply, ..turn("one", 1) };
                        let item_count = view.conversation.item_count + 1;
                        let conversation = Conversation { item_count, ..view.conversation };
                        Ok(ConversationChange {
                            items: vec![item],
                            turn: Some(turn),
                            ..ConversationChange::to(conversation)
                        })
                    }
                };
                scene.change(&id, decide).await
            }
        });
        let (first, second) = both(one, other).await;
        assert!(is_duplicate(&first) != is_duplicate(&second), "{first:?} {second:?}");
        let kept = if first.is_ok() { "x" } else { "y" };
        let reply = scene.turn(id, "one").await.unwrap().reply;
        assert_eq!(reply.text.as_deref(), Some(kept));
        let items = scene.items(id, 1).await;
        assert_eq!(items.iter().map(Item::text).collect::<Vec<_>>(), [kept]);
        assert_eq!(scene.stored(id).await.item_count, 1);
    }
}

/// A reply and the loss of its lease race: the reply is stored or the new attempt is, never both.
pub async fn turn_is_completed_or_its_lease_is_lost(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS * 2).await;
    for conversation in &scene.conversations {
        let (id, token) = (&conversation.id, scene.token());
        scene.claim(id, &token).await.unwrap();
        let now = scene.pass(LEASE);
        let (losing, completing) = (scene.clone(), scene.clone());
        let (lost_id, completed_id) = (id.clone(), id.clone());
        let (lost, completed) = both(
            async move { losing.move_to(&lost_id, move |view| view.conversation.lose_lease(now)).await },
            async move { completing.complete(&completed_id, &token, Some("one"), None).await },
        )
        .await;
        let stored = scene.stored(id).await;
        assert_eq!(scene.items(id, 2).await, []);
        if completed.is_ok() {
            assert_eq!(refusal(lost), Refusal::LeaseHeld);
            assert_eq!((stored.attempt, stored.item_count), (1, 2));
            assert_eq!(scene.items(id, 1).await.len(), 2);
            assert!(scene.turn(id, "one").await.is_some());
        } else {
            assert_eq!(refusal(completed), Refusal::TurnLost);
            let lost = lost.unwrap();
            assert_eq!((lost.attempt, lost.status), (2, ConversationStatus::Queued));
            assert_eq!(stored, lost);
            assert_eq!(scene.items(id, 1).await, []);
            assert_eq!(scene.turn(id, "one").await, None);
        }
    }
}

/// The end of a conversation and a reply race: one of them is refused, and nothing is half written.
pub async fn conversation_with_a_claimed_turn_is_not_ended(fixture: &Fixture) {
    let scene = fixture.scene(ROUNDS).await;
    for conversation in &scene.conversations {
        let id = &conversation.id;
        scene.start(id).await.unwrap();
        let (claiming, ending, token) = (scene.clone(), scene.clone(), scene.token());
        let (claimed_id, ended_id) = (id.clone(), id.clone());
        let (claimed, ended) = both(async move { claiming.claim(&claimed_id, &token).await }, async move {
            ending.end(&ended_id).await
        })
        .await;
        let stored = scene.stored(id).await;
        if let Ok(claimed) = claimed {
            let until = claimed.turn.as_ref().unwrap().expires_at;
            assert_eq!(refusal(ended), Refusal::TurnInProgress { until });
            assert_eq!(stored, claimed);
        } else {
            let status = ConversationStatus::Ended;
            assert_eq!(refusal(claimed), Refusal::ConversationOver { status });
            assert_eq!(stored, ended.unwrap());
            assert_eq!(stored.end_reason, Some(EndReason::AgentDecided));
        }
    }
}

/// A claim for a later attempt than the first needs a start. The store shows the attempt to the
/// decision.
pub async fn call_of_a_worker_with_a_lost_lease_is_refused(fixture: &Fixture) {
    let scene = fixture.scene(1).await;
    let id = scene.answered().await.id;
    scene.lose_lease(&id).await.unwrap();
    let token = scene.token();
    assert_eq!(refusal(scene.claim(&id, &token).await), Refusal::ConversationRequeued { attempt: 2 });
    scene.start(&id).await.unwrap();
    let now = fixture.now();
    let stale = scene.move_to(&id, move |view| {
        let claim = TurnClaim { token: token.clone(), expires_at: now + CLAIM };
        view.conversation.claim_turn(&view.simulation, Some(1), claim, LEASE, now)
    });
    assert_eq!(refusal(stale.await), Refusal::StaleAttempt { current: 2 });
}
