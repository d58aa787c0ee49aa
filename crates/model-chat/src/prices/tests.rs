use super::*;

fn name(text: &str) -> ModelName {
    ModelName::parse(text).unwrap()
}

fn input(prices: &Prices, text: &str, version: Option<&str>) -> Option<u64> {
    prices.price(&name(text), version).map(|price| price.input.get())
}

fn table() -> Prices {
    let json = r#"{"source": "a test", "models": [
        {"model": "openai:gpt-5", "input": 5, "cached_input": 1, "output": 10, "retires": "2026-12-11"},
        {"model": "openai:gpt-5-mini", "input": 2, "output": 3},
        {"model": "anthropic:claude-opus-4", "input": 15, "cache_write": 20, "output": 75},
        {"model": "bedrock:anthropic.claude-opus-4-20250514-v1:0", "input": 7, "output": 8},
        {"model": "bedrock:eu.anthropic.claude-opus-4-20250514-v1:0", "input": 9, "output": 8}
    ]}"#;
    Prices::default().with(json).unwrap()
}

#[test]
fn built_in_prices_are_valid_and_plausible() {
    let prices = Prices::built_in().unwrap();
    assert!(prices.0.len() >= 25);
    for provider in ["openai:", "anthropic:", "bedrock:", "openai-decisions:"] {
        assert!(prices.0.keys().any(|name| name.starts_with(provider)), "{provider}");
    }
    for (name, price) in &prices.0 {
        assert!(price.cached_input <= price.input, "{name}");
        // A decision model writes nothing.
        assert!(price.input <= price.output || name.starts_with("openai-decisions:"), "{name}");
        assert!(price.input.get() > 0, "{name}");
    }
}

#[test]
fn dated_version_has_the_price_of_its_model() {
    let prices = table();
    for (model, expected) in [
        ("openai:gpt-5", Some(5_000_000_000)),
        ("openai:gpt-5-2025-08-07", Some(5_000_000_000)),
        ("openai:gpt-5-latest", Some(5_000_000_000)),
        ("openai:gpt-5-mini-2025-08-07", Some(2_000_000_000)),
        ("anthropic:claude-opus-4-20250514", Some(15_000_000_000)),
        ("anthropic:claude-opus-4@20250514", Some(15_000_000_000)),
        // Other models, with prices that are not known.
        ("openai:gpt-5-nano-2025-08-07", None),
        ("openai:gpt-5-pro", None),
        ("openai:gpt-5.1", None),
        ("anthropic:claude-opus-4-5", None),
        ("anthropic:claude-opus-4-5-20251101", None),
        ("anthropic:gpt-5", None),
        ("offline", None),
    ] {
        assert_eq!(input(&prices, model, None), expected, "{model}");
    }
}

#[test]
fn version_that_answered_takes_precedence() {
    let prices = table();
    let answered = |version| input(&prices, "openai:gpt-5", Some(version));
    assert_eq!(answered("gpt-5-mini-2025-08-07"), Some(2_000_000_000));
    assert_eq!(answered("unknown"), Some(5_000_000_000));
}

#[test]
fn inference_profile_has_the_price_of_its_geography() {
    let prices = table();
    let id = "anthropic.claude-opus-4-20250514-v1:0";
    for (model, expected) in [
        (format!("bedrock:{id}"), Some(7_000_000_000)),
        (format!("bedrock:global.{id}"), Some(7_000_000_000)),
        (format!("bedrock:eu.{id}"), Some(9_000_000_000)),
        (format!("bedrock:us.{id}"), None),
        (format!("bedrock:arn:aws:bedrock:eu-west-1::foundation-model/{id}"), Some(7_000_000_000)),
        (format!("bedrock:arn:aws:bedrock:eu-west-1:1:inference-profile/eu.{id}"), Some(9_000_000_000)),
        ("bedrock:arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc".into(), None),
    ] {
        assert_eq!(input(&prices, &model, None), expected, "{model}");
    }
}

#[test]
fn cost_counts_each_kind_of_token_once() {
    let prices = table();
    let tokens =
        TokenUsage { input: 1000, cached_input: 2000, cache_write: 3000, output: 4000, reasoning: 3500 };
    let gpt = prices.price(&name("openai:gpt-5"), None).unwrap();
    // 1000 * $5 + 2000 * $1 + 3000 * $5 + 4000 * $10, per million.
    assert_eq!(gpt.cost(tokens).get(), 62_000_000);
    let claude = prices.price(&name("anthropic:claude-opus-4"), None).unwrap();
    // 1000 * $15 + 2000 * $15 + 3000 * $20 + 4000 * $75, per million.
    assert_eq!(claude.cost(tokens).get(), 405_000_000);
    let most = TokenUsage { input: u64::MAX, output: u64::MAX, ..tokens };
    assert_eq!(gpt.cost(most).get(), u64::MAX);
}

#[test]
fn other_table_replaces_prices_by_name() {
    let prices = table().with(r#"{"models": [{"model": "openai:gpt-5", "input": 0, "output": 0}]}"#).unwrap();
    assert_eq!(input(&prices, "openai:gpt-5", None), Some(0));
    assert_eq!(input(&prices, "openai:gpt-5-mini", None), Some(2_000_000_000));
}

#[test]
fn malformed_table_is_refused() {
    let with = |row: &str| Prices::default().with(&format!(r#"{{"models": [{row}]}}"#)).unwrap_err();
    let message = with(r#"{"model": "openai:a", "input": -1, "output": 1}"#).to_string();
    assert_eq!(
        message,
        "`openai:a`: `input` must be a price in US dollars per million tokens, from 0 to 1000000"
    );
    assert!(matches!(with(r#"{"model": "openai:a", "input": 1, "output": 1e9}"#), PricesError::Price(..)));
    assert!(matches!(with(r#"{"model": "offline", "input": 1, "output": 1}"#), PricesError::Model(_)));
    assert!(matches!(with(r#"{"model": "gpt", "input": 1, "output": 1}"#), PricesError::Model(_)));
    let message = with(r#"{"model": "openai:a", "input": 1, "output": 1, "cashed": 1}"#).to_string();
    assert!(message.contains("unknown field `cashed`"), "{message}");
    assert!(matches!(with(r#"{"model": "openai:a", "input": 1}"#), PricesError::Form(_)));
}

#[test]
fn retirement_is_reported_within_the_days() {
    let prices = table();
    let retires = |model: &str, today: &str| prices.retires_within(&name(model), today.parse().unwrap(), 30);
    let date: Date = "2026-12-11".parse().unwrap();
    assert_eq!(retires("openai:gpt-5", "2026-11-10"), None);
    assert_eq!(retires("openai:gpt-5", "2026-11-11"), Some(date));
    assert_eq!(retires("openai:gpt-5-2025-08-07", "2027-01-01"), Some(date));
    assert_eq!(retires("openai:gpt-5-mini", "2026-11-11"), None);
}
