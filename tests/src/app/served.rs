//! The application behind a socket, with real time, background work and chat models.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use onerun_api::{App, Body, BodySource, Presence, ROUTES, Router};
use onerun_domain::{Clock, JobKind, later};
use onerun_engine::{Engine, EngineParts, JOB_HIDDEN, JOB_LIMIT, Outbound, Settings};
use onerun_host::{OsRandom, SystemClock, Variables};
use onerun_model_chat::ModelConfig;
use onerun_transport::Transport;

use super::{ROOT_KEY, keys, store};
use crate::{
    Client,
    listener::{Listener, Task},
    provider::{Provider, Wire},
};

/// The interval between polls for jobs, and between ticks.
const PAUSE: Duration = Duration::from_millis(50);

const JOBS_AT_ONCE: u32 = 32;

/// An application with its own empty store, as a server in this process. It uses SQLite, or DynamoDB where a test run
/// names one.
pub struct ServedApp {
    app: Arc<App>,
    listener: Listener,
    // They end before the store is removed.
    _tasks: [Task; 2],
    _backing: store::Backing,
}

impl ServedApp {
    /// Starts one whose models are those of `provider`, over a wire.
    pub async fn start(settings: Settings, provider: &Arc<Provider>, wire: Wire) -> Self {
        Self::start_with(settings, provider, wire, &[]).await
    }

    /// Starts one with further variables.
    pub async fn start_with(
        settings: Settings,
        provider: &Arc<Provider>,
        wire: Wire,
        further: &[(&str, &str)],
    ) -> Self {
        let (store, backing) = store::empty();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut given = provider.variables(wire, "small");
        given.extend(further.iter().map(|(name, value)| ((*name).into(), (*value).to_owned())));
        let mut variables = Variables::new(|name| {
            given.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
        });
        let models = ModelConfig::read(&mut variables);
        variables.finish(()).expect("variables of the provider");
        let transport: Arc<dyn Transport> = Arc::clone(provider) as _;
        let redaction = Arc::clone(models.redaction());
        let models = Arc::new(models.open(&transport, &clock));
        let engine = Engine::new(EngineParts {
            store,
            models,
            clock,
            random: Arc::new(OsRandom),
            redaction,
            outbound: Outbound::default(),
            settings,
        });
        let app = Arc::new(App::new(engine, Box::new(keys())));
        let tasks = [Task::spawn(run_jobs(Arc::clone(&app))), Task::spawn(tick(Arc::clone(&app)))];
        let router = Arc::new(Router::new(ROUTES).expect("routes that can be told apart"));
        let serving = Arc::clone(&app);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::start(address, move |peer, request| {
            let (app, router) = (Arc::clone(&serving), Arc::clone(&router));
            // In a task of its own, because a client that disconnects must not interrupt a change.
            let answer = tokio::spawn(async move { router.answer(&app, read(peer, request)).await });
            async move { answer.await.ok() }
        })
        .await
        .expect("a free port");
        Self { app, listener, _tasks: tasks, _backing: backing }
    }

    /// A client with the root key.
    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.listener.address()), Some(ROOT_KEY))
    }

    /// The engine behind the routes.
    pub fn engine(&self) -> &Engine {
        self.app.engine()
    }
}

/// A request as a host hands it to the router.
fn read(peer: SocketAddr, request: Request<bytes::Bytes>) -> onerun_api::Request {
    let (head, body) = request.into_parts();
    let mut id = [0; 10];
    getrandom::fill(&mut id).expect("the system's randomness");
    onerun_api::Request {
        id: format!("req_{}", u64::from_le_bytes([id[0], id[1], id[2], id[3], id[4], id[5], id[6], id[7]])),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        address: Some(peer.ip()),
        body: BodySource::from(Body::Read(body)),
        presence: Presence::default(),
    }
}

async fn run_jobs(app: Arc<App>) {
    loop {
        for kind in JobKind::ALL {
            let engine = app.engine();
            let now = engine.now();
            let jobs = engine.store().claim_jobs(kind, JOBS_AT_ONCE, later(now, JOB_HIDDEN), now).await;
            for job in jobs.expect("the store answers") {
                let engine = engine.clone();
                tokio::spawn(async move { engine.run_job(job, JOB_LIMIT).await });
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn tick(app: Arc<App>) {
    loop {
        app.engine().tick().await.expect("the tick succeeds");
        tokio::time::sleep(PAUSE).await;
    }
}
