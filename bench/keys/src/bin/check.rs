//! Measures the check of a managed key with a cached record among 10,000: headers, checksum,
//! lookup, digest, comparison, expiry, address, scope and project. No store is called.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use http::HeaderMap;
use jiff::Timestamp;
use onerun_auth::{
    Access, Credential, Instants, KEY_CACHE_TTL, KeyCache, Lookup, ManagedKey, Refusal, Scope,
    recognize_managed,
};
use onerun_bench_keys::{Generator, headers, managed_key, percentile, record};
use onerun_domain::ProjectId;
use serde_json::json;

#[derive(Parser)]
#[command(about = "Measures the check of a managed key whose record is known")]
struct Options {
    /// The number of cached keys.
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// The number of timed checks.
    #[arg(long, default_value_t = 1_000_000)]
    samples: usize,
}

/// The API's state: cached key records and clocks.
struct Process {
    cache: Mutex<KeyCache>,
    project: ProjectId,
    started: Instant,
}

impl Process {
    /// Whether a request may call a route with this scope in the project, in the order of the API's
    /// checks.
    fn check(&self, headers: &HeaderMap) -> Result<bool, Refusal> {
        let credential = Credential::of_request(headers)?;
        let Some(key) = credential.managed()? else { return Ok(false) };
        let moment = Instants { wall: time(), running: self.started.elapsed() };
        let looked = self.cache.lock().unwrap_or_else(PoisonError::into_inner).lookup(key.id(), moment);
        let Lookup::Known(record) = looked else { return Ok(false) };
        let principal = recognize_managed(&key, record.as_deref(), None, time())?;
        principal.authorize(Access::Requires(Scope::ConversationsWrite))?;
        principal.authorize_project(&self.project)?;
        Ok(true)
    }
}

#[expect(clippy::expect_used, reason = "constants")]
fn main() -> io::Result<()> {
    let Options { keys, samples } = Options::parse();
    let mut chance = Generator::new();
    let project: ProjectId = "AbCdEf012345".parse().expect("an id");
    let made: Vec<ManagedKey> = (0..keys).map(|_| managed_key(&chance.bytes())).collect();
    let process = Process {
        cache: Mutex::new(KeyCache::new(KEY_CACHE_TTL)),
        project: project.clone(),
        started: Instant::now(),
    };
    let first = headers(made[0].expose());
    let mut wrong = made[0].expose().to_owned();
    wrong.replace_range(63.., if wrong.ends_with('A') { "B" } else { "A" });
    let wrong = headers(&wrong);
    assert!(process.check(&wrong).is_err(), "a wrong key is refused");

    // Refreshes the cache before records expire, outside the timed part.
    let mut filled = None::<Instant>;
    let mut fill = |process: &Process| {
        if filled.is_none_or(|filled| filled.elapsed() > Duration::from_secs(2)) {
            let moment = Instants { wall: time(), running: process.started.elapsed() };
            let mut cache = process.cache.lock().unwrap_or_else(PoisonError::into_inner);
            for key in &made {
                cache.fill(key.id(), Some(record(key, project.clone(), moment.wall)), moment, moment);
            }
            filled = Some(Instant::now());
        }
    };
    let mut times = Vec::with_capacity(samples);
    let mut clock = Vec::with_capacity(samples);
    for index in 0..samples + samples / 10 {
        fill(&process);
        // Built just before, like headers that were just parsed.
        let request = headers(made[chance.below(keys)].expose());
        let began = Instant::now();
        let is_let_in = black_box(process.check(black_box(&request)));
        let took = began.elapsed();
        assert!(matches!(is_let_in, Ok(true)), "every one of them is right: {is_let_in:?}");
        if index >= samples / 10 {
            times.push(took);
            let began = Instant::now();
            clock.push(black_box(began).elapsed());
        }
    }
    let allocations = allocation_counter::measure(|| {
        black_box(process.check(&first)).ok();
    });
    times.sort_unstable();
    clock.sort_unstable();
    let at = |times: &[Duration], share| percentile(times, share).as_nanos();
    let shown = json!({
        "keys": keys, "samples": samples, "p50_ns": at(&times, 0.5), "p99_ns": at(&times, 0.99),
        "p999_ns": at(&times, 0.999), "clock_ns": at(&clock, 0.5), "allocations": allocations.count_total,
        "allocated_bytes": allocations.bytes_total,
    });
    writeln!(io::stdout(), "{shown}")
}

#[expect(clippy::disallowed_methods, reason = "the clocks are part of what is measured")]
fn time() -> Timestamp {
    Timestamp::now()
}
