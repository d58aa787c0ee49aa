//! Personas: created, listed, approved, rejected.

use onerun_domain::{
    AgeGroup, ApprovalStatus, ExplicitPersonas, Job, Persona, PersonaAttributes, PersonaDraft, PersonaId,
    Refusal, SimulationId, Work,
};

use super::fixture::{
    Fixture, ROUNDS, Scene, TestProject, all, attributes, both, in_pages, metadata, odd_texts, part, refusal,
};
use crate::{ChangeError, PersonaChange};

impl Scene {
    fn queue_job(&self, persona: &Persona) -> Job {
        let work =
            Work::QueueConversations { simulation: self.simulation.id.clone(), persona: persona.id.clone() };
        Job::new(self.project.id.clone(), work)
    }

    async fn personas(&self) -> Vec<Persona> {
        self.store().personas(&self.simulation.id, all()).await.unwrap().data
    }

    /// Approves or rejects a persona, with a job for either decision.
    async fn decide(&self, id: &PersonaId, approve: bool) -> Result<Persona, ChangeError> {
        let (scene, now) = (self.clone(), self.now());
        let decide = Box::new(move |(simulation, persona): (_, Persona)| {
            assert_eq!(simulation, scene.simulation);
            let job = scene.queue_job(&persona);
            let persona = if approve { persona.approve(now)? } else { persona.reject(now)? };
            Ok(PersonaChange { persona, jobs: vec![job] })
        });
        self.store().change_persona(&self.simulation.id, id, decide).await.map(Option::unwrap)
    }

    async fn added(&self, persona: Persona) -> Persona {
        assert!(self.store().add_persona(persona.clone(), Vec::new()).await.unwrap());
        persona
    }

    async fn seqs(&self, first: u32, limit: u32) -> Vec<u32> {
        self.store().persona_seqs(&self.simulation.id, first, limit).await.unwrap()
    }
}

impl TestProject {
    fn odd_personas(&self, scene: &Scene) -> Vec<Persona> {
        let mut seqs = 2..;
        let mut next = || self.persona(&scene.simulation, seqs.next().unwrap());
        let mut personas = Vec::new();
        for text in odd_texts().into_iter().chain([String::new(), "\u{1f600}\n\r\t\u{0}".repeat(5_000)]) {
            personas.push(Persona {
                summary: text.clone(),
                story: format!("s{text}"),
                purpose: format!("p{text}"),
                attributes: PersonaAttributes { speech_style: text.clone(), ..attributes() },
                ..next()
            });
        }
        for age_group in AgeGroup::ALL {
            personas.push(Persona { attributes: PersonaAttributes { age_group, ..attributes() }, ..next() });
        }
        for approval in ApprovalStatus::ALL {
            personas.push(Persona { approval, updated_at: self.now(), ..next() });
        }
        personas.push(Persona {
            metadata: metadata(r#"{"from": {"template": [1, "\u00e9", null]}, "": ""}"#),
            ..next()
        });
        personas.push(Persona {
            attributes: PersonaAttributes {
                age_group: AgeGroup::Senior,
                speech_style: "1".into(),
                education: "2".into(),
                occupation: "3".into(),
                economic_status: "4".into(),
                personality_traits: "5".into(),
                values: "6".into(),
                habits: "7".into(),
                interests: "8".into(),
                speech_patterns: "9".into(),
                typical_behavior: "10".into(),
                stress_triggers: "11".into(),
                stress_reactions: String::new(),
                version: "13".into(),
            },
            seq: 20_000,
            ..next()
        });
        personas
    }
}

/// The personas that a caller wrote are read back in their order, of this project's simulation alone.
pub async fn explicit_personas_are_read_as_written(fixture: &Fixture) {
    let (project, other) = (fixture.new_project().await, fixture.new_project().await);
    let agent = project.add_agent(project.agent()).await;
    let simulation = project.simulation(&agent);
    let none = project.add_simulation(project.simulation(&agent)).await;
    let draft = |text: &str| PersonaDraft {
        summary: text.to_owned(),
        story: format!("s{text}"),
        purpose: format!("p{text}"),
        attributes: PersonaAttributes { habits: text.to_owned(), ..attributes() },
    };
    let mut drafts: Vec<_> = odd_texts().iter().map(|text| draft(text)).collect();
    let size = |drafts: &[PersonaDraft]| serde_json::to_vec(drafts).unwrap().len();
    let last = draft("");
    let rest = ExplicitPersonas::MAX_BYTES - size(&drafts) - size(std::slice::from_ref(&last));
    drafts.push(PersonaDraft { story: format!("s{}", "\u{1f600}".repeat(rest / 4)), ..last });
    assert!(ExplicitPersonas::parse(drafts.clone()).is_ok());
    let id = simulation.id.clone();
    project.store.insert_simulation(simulation, Vec::new(), drafts.clone(), Vec::new(), None).await.unwrap();
    assert_eq!(project.store.explicit_personas(&id).await.unwrap(), drafts);
    assert_eq!(project.store.explicit_personas(&none.id).await.unwrap(), []);
    assert_eq!(other.store.explicit_personas(&id).await.unwrap(), []);
}

/// Every field is stored verbatim, and reads the same alone, in a list and with a conversation.
pub async fn persona_is_read_as_added(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for (persona, seq) in scene.project.odd_personas(&scene).into_iter().zip(1..) {
        let persona = scene.added(persona).await;
        let found = scene.store().persona(&scene.simulation.id, &persona.id).await.unwrap();
        assert_eq!(found, Some(persona.clone()));
        let newest = scene.store().personas(&scene.simulation.id, part(1, 0)).await.unwrap();
        assert_eq!(newest.data, std::slice::from_ref(&persona));
        let queued =
            onerun_domain::Conversation { persona_id: persona.id.clone(), ..scene.conversation(seq) };
        scene.add(std::slice::from_ref(&queued)).await.unwrap();
        assert_eq!(scene.read(&queued.id).await.persona, persona);
    }
}

/// A new persona and its jobs are written together.
pub async fn persona_is_added_with_its_jobs(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let persona = scene.project.persona(&scene.simulation, 2);
    let job = scene.queue_job(&persona);
    assert!(scene.store().add_persona(persona.clone(), vec![job.clone()]).await.unwrap());
    assert_eq!(fixture.take_jobs().await, [job]);
}

/// Adding a persona may be repeated: the first of a number stays, and the jobs of the second are
/// not written.
pub async fn second_persona_of_a_number_is_ignored(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let first = scene.added(scene.project.persona(&scene.simulation, 2)).await;
    let second = scene.project.persona(&scene.simulation, 2);
    let job = scene.queue_job(&second);
    assert!(!scene.store().add_persona(second.clone(), vec![job]).await.unwrap());
    assert_eq!(scene.store().persona(&scene.simulation.id, &second.id).await.unwrap(), None);
    assert_eq!(scene.personas().await, [first, scene.persona.clone()]);
    assert_eq!(fixture.take_jobs().await, []);
}

/// Each simulation has its own numbers.
pub async fn personas_of_two_simulations_may_have_one_number(fixture: &Fixture) {
    let project = fixture.new_project().await;
    let (one, other) = (project.scene(0).await, project.scene(0).await);
    let first = one.added(project.persona(&one.simulation, 2)).await;
    let second = other.added(project.persona(&other.simulation, 2)).await;
    assert_eq!(one.personas().await, [first, one.persona.clone()]);
    assert_eq!(other.personas().await, [second, other.persona.clone()]);
}

/// Of two concurrent personas with one number, one is written, and only its jobs are.
pub async fn concurrent_creation_makes_a_persona_once(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for seq in 2..2 + ROUNDS {
        let personas = [0, 1].map(|_| scene.project.persona(&scene.simulation, seq));
        let [first, second] = personas.clone().map(|persona| {
            let scene = scene.clone();
            async move {
                let jobs = vec![scene.queue_job(&persona)];
                scene.store().add_persona(persona, jobs).await.unwrap()
            }
        });
        let (first, second) = both(first, second).await;
        assert!(first != second, "made {} times", u8::from(first) + u8::from(second));
        let made = if first { &personas[0] } else { &personas[1] };
        assert_eq!(scene.personas().await[0], *made);
        assert_eq!(fixture.take_jobs().await, [scene.queue_job(made)]);
    }
}

/// Reads and changes of an unknown persona return `None`; the decision is not called.
pub async fn unknown_persona_is_none(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let unknown = PersonaId::generate(fixture.random());
    assert_eq!(scene.store().persona(&scene.simulation.id, &unknown).await.unwrap(), None);
    let refuse = || Box::new(|_| Err(Refusal::LeaseHeld));
    let changed = scene.store().change_persona(&scene.simulation.id, &unknown, refuse()).await;
    assert_eq!(changed.unwrap(), None);
    let nowhere = SimulationId::generate(fixture.random());
    assert_eq!(scene.store().persona(&nowhere, &scene.persona.id).await.unwrap(), None);
    let changed = scene.store().change_persona(&nowhere, &scene.persona.id, refuse()).await;
    assert_eq!(changed.unwrap(), None);
    assert_eq!(scene.store().personas(&nowhere, all()).await.unwrap().data, []);
    assert_eq!(scene.store().persona_seqs(&nowhere, 1, 10).await.unwrap(), Vec::<u32>::new());
}

/// A decision's result about a persona is returned and stored, with its jobs.
pub async fn persona_decision_is_stored_with_its_jobs(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for (seq, approve, approval) in
        [(2, true, ApprovalStatus::Approved), (3, false, ApprovalStatus::Rejected)]
    {
        let persona = scene.added(scene.project.persona(&scene.simulation, seq)).await;
        let decided = scene.decide(&persona.id, approve).await.unwrap();
        let expected = Persona { approval, updated_at: decided.updated_at, ..persona.clone() };
        assert_eq!(decided, expected);
        assert_eq!(scene.personas().await[0], expected);
        assert_eq!(fixture.take_jobs().await, [scene.queue_job(&persona)]);
    }
}

/// The refusal is returned, and neither state nor jobs are written.
pub async fn refused_persona_decision_writes_nothing(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let refused = scene.decide(&scene.persona.id, false).await;
    assert_eq!(refusal(refused), Refusal::PersonaDecided { status: ApprovalStatus::Approved });
    assert_eq!(scene.personas().await, std::slice::from_ref(&scene.persona));
    assert_eq!(fixture.take_jobs().await, []);
}

/// Of a concurrent approval and rejection, one succeeds and the other is refused.
pub async fn persona_has_only_one_decision(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    for seq in 2..2 + ROUNDS {
        let id = scene.added(scene.project.persona(&scene.simulation, seq)).await.id;
        let [approving, rejecting] = [true, false].map(|approve| {
            let (scene, id) = (scene.clone(), id.clone());
            async move { scene.decide(&id, approve).await }
        });
        let (approved, rejected) = both(approving, rejecting).await;
        let (winner, loser) = if approved.is_ok() { (approved, rejected) } else { (rejected, approved) };
        let winner = winner.unwrap();
        assert_eq!(refusal(loser), Refusal::PersonaDecided { status: winner.approval });
        assert_eq!(scene.personas().await[0], winner);
    }
}

/// Numbers are listed in order from any first one, up to the limit.
pub async fn persona_numbers_are_sequential(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    assert_eq!(scene.seqs(1, 10).await, [1]);
    for seq in [10, 3, 7, 20_000, 4] {
        scene.added(scene.project.persona(&scene.simulation, seq)).await;
    }
    assert_eq!(scene.seqs(1, 100).await, [1, 3, 4, 7, 10, 20_000]);
    assert_eq!(scene.seqs(0, 2).await, [1, 3]);
    assert_eq!(scene.seqs(4, 3).await, [4, 7, 10]);
    assert_eq!(scene.seqs(11, 3).await, [20_000]);
    assert_eq!(scene.seqs(20_001, 3).await, Vec::<u32>::new());
}

/// Newest first. With equal times, each persona is still on exactly one page.
pub async fn personas_are_listed_newest_first(fixture: &Fixture) {
    let scene = fixture.scene(0).await;
    let now = fixture.now();
    for seq in 2..=4 {
        scene.added(Persona { created_at: now, ..scene.project.persona(&scene.simulation, seq) }).await;
    }
    let newest = scene.added(scene.project.persona(&scene.simulation, 5)).await;
    let whole = scene.personas().await;
    assert_eq!((whole.len(), &whole[0], &whole[4]), (5, &newest, &scene.persona));
    let mut seqs: Vec<_> = whole.iter().map(|persona| persona.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    for limit in [1, 2, 5, 6] {
        let pages =
            in_pages(limit, async |page| scene.store().personas(&scene.simulation.id, page).await.unwrap());
        assert_eq!(pages.await, whole);
    }
}
