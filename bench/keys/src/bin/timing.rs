//! Tests statistically whether the time of a refusal reveals anything about a key, in the manner of
//! dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?").
//!
//! Two classes of wrong keys are refused in random order, and each refusal is timed. Welch's t-test
//! decides whether the two means differ. It uses all times, and again without the slowest ones,
//! cropped at many percentiles, because disturbances are slow and hide small differences. The
//! largest |t| counts.
//!
//! A comparison that leaks on purpose is measured in the same way. If its leak is not found, the
//! measurement is worthless and the program fails.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use http::HeaderMap;
use jiff::Timestamp;
use onerun_auth::{Credential, KeyRecord, KeyRing, Refusal, RootKey, recognize, recognize_managed};
use onerun_bench_keys::{Generator, KeyBytes, headers, managed_key, percentile, record};

/// The |t| that distinguishes two classes. By chance, one test in two million exceeds it.
const THRESHOLD: f64 = 5.0;

/// The smallest difference that counts, in nanoseconds. A million samples show a third of a
/// processor's cycle, which depends on the location of code and data and changes with the build.
const RESOLUTION: f64 = 1.0;

/// The number of percentiles at which times are cropped.
const CROPS: usize = 100;

/// The number of refusals prepared together.
const BATCH: usize = 512;

#[derive(Parser)]
#[command(about = "Looks for differences in the time of refusals")]
struct Options {
    /// The number of timed refusals for each pair of classes.
    #[arg(long, default_value_t = 2_000_000)]
    samples: usize,
}

/// The number of known keys. They are many and created before the measurement, because a processor
/// learns from bytes that it has seen, and an attempt with a known prefix would profit.
const KNOWN: usize = 16_384;

/// A known managed key and a known root key.
struct Known {
    drawn: KeyBytes,
    managed: String,
    record: KeyRecord,
    root: String,
    ring: KeyRing,
}

/// A request with a wrong key, and the record it is compared with.
struct Attempt<'a> {
    headers: HeaderMap,
    known: &'a Known,
    /// Looked up before: the time of a map lookup depends on the map's content, and ids are not
    /// secret.
    record: Option<&'a KeyRecord>,
}

/// Two classes of wrong keys and the check that refuses them. In themselves both classes are alike:
/// all keys are random.
struct Pair {
    name: &'static str,
    /// Whether the check leaks on purpose.
    leaks: bool,
    classes: [fn(&Known, &mut Generator) -> String; 2],
    /// Whether a record exists, for each class.
    is_found: [bool; 2],
    is_let_in: fn(&Attempt) -> bool,
}

/// A managed key has 9 bytes of id and 32 of secret. These are the first and the last of the
/// secret.
const FIRST: usize = 9;
const LAST: usize = 40;

const PAIRS: [Pair; 4] = [
    Pair {
        name: "leaky on purpose: first byte wrong, last byte wrong",
        leaks: true,
        classes: [
            |known, chance| changed(known, FIRST, chance),
            |known, chance| changed(known, LAST, chance),
        ],
        is_found: [true, true],
        is_let_in: leaky,
    },
    Pair {
        name: "managed: unknown id, wrong secret of a known id",
        leaks: false,
        classes: [|_, chance| managed_key(&chance.bytes()).expose().to_owned(), wrong_secret],
        is_found: [false, true],
        is_let_in: managed,
    },
    Pair {
        name: "managed: first byte wrong, last byte wrong",
        leaks: false,
        classes: [
            |known, chance| changed(known, FIRST, chance),
            |known, chance| changed(known, LAST, chance),
        ],
        is_found: [true, true],
        is_let_in: managed,
    },
    Pair {
        name: "root: wrong early, wrong late",
        leaks: false,
        classes: [
            |known, chance| changed_root(known, 1, chance),
            |known, chance| changed_root(known, 40, chance),
        ],
        is_found: [false, false],
        is_let_in: root,
    },
];

/// The mean, the variance and the number of times.
#[derive(Clone, Copy, Default)]
struct Times {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Times {
    fn add(&mut self, time: f64) {
        self.count += 1.0;
        let delta = time - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (time - self.mean);
    }

    /// The square of the mean's standard error.
    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

/// The result of a pair's t-tests.
struct TestResult {
    /// The largest |t|.
    t: f64,
    /// Whether a difference of at least [`RESOLUTION`] exceeds [`THRESHOLD`] in any test.
    differs: bool,
    /// The means of both classes in ns without the slowest tenth, and the 95% confidence bound of
    /// their difference.
    means: [f64; 2],
    off: f64,
}

fn main() -> io::Result<ExitCode> {
    let Options { samples } = Options::parse();
    let mut chance = Generator::new();
    let known: Vec<Known> = (0..KNOWN).map(|_| known(&mut chance)).collect();

    let mut out = io::stdout();
    writeln!(out, "| classes | mean ns, each | difference ns | largest \\|t\\| | |")?;
    writeln!(out, "|---|---:|---:|---:|---|")?;
    let mut is_as_expected = true;
    for pair in &PAIRS {
        let TestResult { t, differs, means: [a, b], off } = test(pair, &known, samples, &mut chance);
        is_as_expected &= differs == pair.leaks;
        let verdict = match (differs, pair.leaks) {
            (true, true) => "caught",
            (false, true) => "NOT CAUGHT: nothing below means anything",
            (false, false) if t > THRESHOLD => "less than a nanosecond",
            (false, false) => "no difference",
            (true, false) => "DIFFERENT",
        };
        writeln!(out, "| {} | {a:.1} / {b:.1} | {:+.2} ± {off:.2} | {t:.1} | {verdict} |", pair.name, b - a)?;
    }
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test(pair: &Pair, known: &[Known], samples: usize, chance: &mut Generator) -> TestResult {
    let mut times = Vec::with_capacity(samples + BATCH);
    let mut is_warm = false;
    while times.len() < samples {
        // All are prepared before the first is timed, because preparing the classes leaves the
        // processor in different states.
        let batch: Vec<_> = (0..BATCH).map(|_| attempt(pair, known, chance)).collect();
        for (class, attempt) in batch {
            // Reads the record even if unused, so that it is cached equally for both classes.
            let Known { managed, record, ring, .. } = attempt.known;
            black_box((record.digest.to_bytes(), managed.clone(), ring.clone()));
            let attempt = Attempt { headers: attempt.headers.clone(), ..attempt };
            let began = Instant::now();
            let is_let_in = black_box((pair.is_let_in)(black_box(&attempt)));
            let took = began.elapsed();
            assert!(!is_let_in, "these keys are wrong");
            times.push((class, took.as_nanos() as f64));
        }
        if !is_warm && times.len() >= samples / 10 {
            times.clear();
            is_warm = true;
        }
    }
    let mut sorted: Vec<f64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share| percentile(&sorted, share);
    // Percentiles as in dudect: close together where times are slow.
    let crops = (1..=CROPS).map(|crop| at(1.0 - 0.5_f64.powf(10.0 * crop as f64 / CROPS as f64)));
    let (mut t, mut differs) = (0.0, false);
    for crop in crops.chain([f64::INFINITY]) {
        let [a, b] = means(&times, crop);
        let (difference, error) = ((a.mean - b.mean).abs(), (a.error() + b.error()).sqrt());
        // Too few or equal times cannot be tested.
        if a.count.min(b.count) >= 10_000.0 && error > 0.0 {
            t = f64::max(t, difference / error);
            differs |= difference / error > THRESHOLD && difference >= RESOLUTION;
        }
    }
    let [a, b] = means(&times, at(0.9));
    TestResult { t, differs, means: [a.mean, b.mean], off: 1.96 * (a.error() + b.error()).sqrt() }
}

fn attempt<'a>(pair: &Pair, known: &'a [Known], chance: &mut Generator) -> (usize, Attempt<'a>) {
    let class = usize::from(chance.number() & (1 << 40) != 0);
    let known = &known[chance.below(known.len())];
    let headers = headers(&(pair.classes[class])(known, chance));
    (class, Attempt { headers, known, record: pair.is_found[class].then_some(&known.record) })
}

fn means(times: &[(usize, f64)], crop: f64) -> [Times; 2] {
    let mut classes = [Times::default(); 2];
    for (class, time) in times.iter().filter(|(_, time)| *time <= crop) {
        classes[*class].add(*time);
    }
    classes
}

fn managed(attempt: &Attempt) -> bool {
    let decide = || -> Result<bool, Refusal> {
        let credential = Credential::of_request(&attempt.headers)?;
        let Some(key) = credential.managed()? else { return Ok(false) };
        recognize_managed(&key, attempt.record, None, Timestamp::UNIX_EPOCH).map(|_| true)
    };
    decide().unwrap_or(false)
}

fn root(attempt: &Attempt) -> bool {
    let credential = Credential::of_request(&attempt.headers);
    credential.and_then(|sent| recognize(&attempt.known.ring, &sent, Timestamp::UNIX_EPOCH)).is_ok()
}

/// The leak that must be found: the steps of a managed key with a comparison that ends at the first
/// difference.
fn leaky(attempt: &Attempt) -> bool {
    let decide = || -> Result<bool, Refusal> {
        let credential = Credential::of_request(&attempt.headers)?;
        let Some(key) = credential.managed()? else { return Ok(false) };
        for (sent, kept) in key.expose().bytes().zip(attempt.known.managed.bytes()) {
            if black_box(sent) != black_box(kept) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    decide().unwrap_or(false)
}

#[expect(clippy::expect_used, reason = "a random key is a key, but for one in a billion billion")]
fn known(chance: &mut Generator) -> Known {
    let drawn = chance.bytes();
    let managed = managed_key(&drawn);
    let project = "AbCdEf012345".parse().expect("an id");
    let record = record(&managed, project, Timestamp::UNIX_EPOCH);
    let root = RootKey::generate(|bytes| {
        bytes.copy_from_slice(&chance.bytes::<32>());
        Ok::<(), Infallible>(())
    });
    let root = root.expect("a key");
    let ring = KeyRing::new(&root);
    Known { drawn, managed: managed.expose().to_owned(), record, root: root.expose().to_owned(), ring }
}

/// The known key with one byte changed and a matching checksum.
fn changed(known: &Known, place: usize, chance: &mut Generator) -> String {
    let mut drawn = known.drawn;
    drawn[place] ^= chance.change();
    managed_key(&drawn).expose().to_owned()
}

fn wrong_secret(known: &Known, chance: &mut Generator) -> String {
    let mut drawn: KeyBytes = chance.bytes();
    drawn[..FIRST].copy_from_slice(&known.drawn[..FIRST]);
    managed_key(&drawn).expose().to_owned()
}

/// The root key with another character at one position, in the form of a root key.
fn changed_root(known: &Known, place: usize, chance: &mut Generator) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = known.root.clone();
    let own = CHARACTERS.iter().position(|character| *character == text.as_bytes()[place]).unwrap_or(0);
    let other = (own + 1 + chance.below(63)) % 64;
    text.replace_range(place..=place, &char::from(CHARACTERS[other]).to_string());
    text
}
