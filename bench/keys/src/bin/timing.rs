//! Whether the time of a refusal tells anything of a key, by statistics: dudect's way (Reparaz, Balasch, Verbauwhede,
//! "Dude, is my code constant time?").
//!
//! Two classes of wrong keys are refused in random turns, each refusal is timed by itself, and Welch's t-test says whether
//! the two means differ. It is made with all times, and again without the slowest ones, cropped at many percentiles, because
//! what disturbs a machine is slow and drowns what is looked for. The largest |t| counts.
//!
//! The same is done with a comparison that leaks on purpose. If that is not caught, the measurement is worth nothing here,
//! and the program fails.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use http::HeaderMap;
use jiff::Timestamp;
use onerun_auth::{Credential, KeyRecord, KeyRing, Refusal, RootKey, recognize, recognize_managed};
use onerun_bench_keys::{Chance, Drawn, headers, managed_key, percentile, record};

/// From which |t| on two classes are told apart. By chance, one test in two million exceeds it.
const THRESHOLD: f64 = 5.0;

/// From how many nanoseconds on it is called a difference. A million samples show a third of a processor's cycle, which is
/// where code and data happen to lie: it comes and goes with the build.
const RESOLUTION: f64 = 1.0;

/// At how many percentiles times are cropped.
const CROPS: usize = 100;

/// How many refusals are prepared at a time.
const BATCH: usize = 512;

#[derive(Parser)]
#[command(about = "Looks for differences in the time of refusals")]
struct Options {
    /// How many refusals are timed for each pair of classes.
    #[arg(long, default_value_t = 2_000_000)]
    samples: usize,
}

/// How many keys are known. They are many, and made before anything is timed, because a processor learns what follows in
/// bytes that it has seen, and an attempt that begins like a known key would profit from that.
const KNOWN: usize = 16_384;

/// A managed key and a root key that are known.
struct Known {
    drawn: Drawn,
    managed: String,
    record: KeyRecord,
    root: String,
    ring: KeyRing,
}

/// A request with a wrong key, and what it is compared with.
struct Attempt<'a> {
    headers: HeaderMap,
    known: &'a Known,
    /// Looked up before: a look into a map takes time by what is there, and ids are no secret.
    record: Option<&'a KeyRecord>,
}

/// Two classes of wrong keys and what refuses them. Of the wrong keys by themselves, both classes are alike: each is random.
struct Pair {
    name: &'static str,
    /// Whether the difference is there on purpose.
    leaks: bool,
    classes: [fn(&Known, &mut Chance) -> String; 2],
    /// Whether there is a record, in each class.
    is_found: [bool; 2],
    is_let_in: fn(&Attempt) -> bool,
}

/// A managed key is 9 bytes of id and 32 of secret; these are the first and the last of the secret.
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

/// What the t-tests of a pair come to.
struct Verdict {
    /// The largest |t|.
    t: f64,
    /// Whether a difference as large as the [`RESOLUTION`] exceeds the [`THRESHOLD`] anywhere.
    differs: bool,
    /// Means of both classes in ns, without the slowest tenth, and how far their difference may be off (95%).
    means: [f64; 2],
    off: f64,
}

fn main() -> io::Result<ExitCode> {
    let Options { samples } = Options::parse();
    let mut chance = Chance::new();
    let known: Vec<Known> = (0..KNOWN).map(|_| known(&mut chance)).collect();

    let mut out = io::stdout();
    writeln!(out, "| classes | mean ns, each | difference ns | largest \\|t\\| | |")?;
    writeln!(out, "|---|---:|---:|---:|---|")?;
    let mut is_as_expected = true;
    for pair in &PAIRS {
        let Verdict { t, differs, means: [a, b], off } = test(pair, &known, samples, &mut chance);
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

fn test(pair: &Pair, known: &[Known], samples: usize, chance: &mut Chance) -> Verdict {
    let mut times = Vec::with_capacity(samples + BATCH);
    let mut is_warm = false;
    while times.len() < samples {
        // All before the first is timed: what makes a class differs, and leaves the processor in different states.
        let batch: Vec<_> = (0..BATCH).map(|_| attempt(pair, known, chance)).collect();
        for (class, attempt) in batch {
            // Read, whether it will be needed or not, so that it is as near to the processor in either class.
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
    // As dudect has them: close together where times are slow.
    let crops = (1..=CROPS).map(|crop| at(1.0 - 0.5_f64.powf(10.0 * crop as f64 / CROPS as f64)));
    let (mut t, mut differs) = (0.0, false);
    for crop in crops.chain([f64::INFINITY]) {
        let [a, b] = means(&times, crop);
        let (difference, error) = ((a.mean - b.mean).abs(), (a.error() + b.error()).sqrt());
        // With few left, or none that differ, there is nothing to test.
        if a.count.min(b.count) >= 10_000.0 && error > 0.0 {
            t = f64::max(t, difference / error);
            differs |= difference / error > THRESHOLD && difference >= RESOLUTION;
        }
    }
    let [a, b] = means(&times, at(0.9));
    Verdict { t, differs, means: [a.mean, b.mean], off: 1.96 * (a.error() + b.error()).sqrt() }
}

fn attempt<'a>(pair: &Pair, known: &'a [Known], chance: &mut Chance) -> (usize, Attempt<'a>) {
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

/// What must be caught: the same steps as for a managed key, and a comparison that ends at the first difference.
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
fn known(chance: &mut Chance) -> Known {
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

/// The known key with one byte changed, and the checksum that goes with it.
fn changed(known: &Known, place: usize, chance: &mut Chance) -> String {
    let mut drawn = known.drawn;
    drawn[place] ^= chance.change();
    managed_key(&drawn).expose().to_owned()
}

fn wrong_secret(known: &Known, chance: &mut Chance) -> String {
    let mut drawn: Drawn = chance.bytes();
    drawn[..FIRST].copy_from_slice(&known.drawn[..FIRST]);
    managed_key(&drawn).expose().to_owned()
}

/// The root key with another character at a place, which could be a root key still.
fn changed_root(known: &Known, place: usize, chance: &mut Chance) -> String {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = known.root.clone();
    let own = CHARACTERS.iter().position(|character| *character == text.as_bytes()[place]).unwrap_or(0);
    let other = (own + 1 + chance.below(63)) % 64;
    text.replace_range(place..=place, &char::from(CHARACTERS[other]).to_string());
    text
}
