//! Wrong and right values for each kind of field in a body.

use serde_json::{Map, Value, json};

/// Invalid values of a kind of field as JSON text, and valid ones from both ends of its range.
pub(super) struct Kind {
    pub(super) bad: Vec<String>,
    pub(super) good: Vec<String>,
}

fn kind(bad: &[&str], good: &[&str]) -> Kind {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Kind { bad: owned(bad), good: owned(good) }
}

pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

impl Kind {
    /// The kind of a field, from its schema in the OpenAPI document.
    pub(super) fn of(name: &str, schema: &Value) -> Self {
        let number = |word: &str| schema[word].as_u64().unwrap_or_else(|| panic!("{name} has no {word}"));
        let length = |word: &str| usize::try_from(number(word)).unwrap();
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
        match kind.as_str().unwrap() {
            "boolean" => Self::boolean(),
            "integer" => Self::whole(number("minimum"), number("maximum")),
            "number" => Self::amount(&schema["minimum"], &schema["maximum"]),
            "string" if schema["format"] == "date-time" => Self::time(),
            "string" if schema["enum"].is_array() => Self::word(&schema["enum"]),
            "string" if schema["maxLength"].is_null() => Self::id(),
            "string" if name == "judge" => Self::model(),
            "string" if name == "criteria" => Self::criteria(length("maxLength")),
            "string" => {
                let has_lines = !schema["pattern"].as_str().unwrap().contains(r"\x00-\x1f");
                Self::text(length("maxLength"), length("minLength") == 0, has_lines)
            }
            "array" => Self::array(&schema["items"], number("minItems") == 0, length("maxItems")),
            "object" if name == "models" => Self::models(&schema["properties"]),
            // Its ids are those of one test.
            "object" if ["simulation", "defaults"].contains(&name) => Self::of_object(&[]),
            "object" if name == "target" => Self::of_object(&[
                r#"{"openai": {"url": "https://example.com", "model": "m"}}"#,
                r#"{"http": {"url": "https://example.com", "body": null, "reply": "/a", "timeout_seconds": 25}}"#,
            ]),
            "object" if name == "credential" => Self::of_object(&[r#"{"value": "x"}"#]),
            "object" if name == "schedule" => Self::schedule(),
            "object" if name == "gate" => {
                Self::of_object(&[r#"{"min_pass_rate": 1e-300}"#, r#"{"min_pass_rate": 1, "on": "rate"}"#])
            }
            "object" if name == "alert" => Self::of_object(&[
                r#"{"expected_pass_rate": 0.02, "low_pass_rate": 0.01}"#,
                r#"{"expected_pass_rate": 0.999, "low_pass_rate": 0.989}"#,
            ]),
            "object" if schema["properties"].is_object() => Self::object(&schema["properties"]),
            "object" => Self::metadata(),
            other => panic!("{name} is of an unknown kind: {other}"),
        }
    }

    fn word(words: &Value) -> Self {
        let words: Vec<&str> = words.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut kind = kind(&["5", "[]", "\"\"", "\"root\""], &[]);
        kind.bad.push(quoted(&words[0].to_uppercase()));
        kind.good = words.into_iter().map(quoted).collect();
        kind
    }

    /// A list. Ids of its items are those of one test, so no list of them is right in each.
    fn array(items: &Value, may_be_empty: bool, max: usize) -> Self {
        if items["type"] == "string" && items["pattern"].is_null() && items["enum"].is_null() {
            return Self::list(items["examples"][0].as_str().unwrap_or("onr_"), max);
        }
        let mut kind = kind(&["5", "\"x\"", "{}", "true"], &[]);
        if may_be_empty { &mut kind.good } else { &mut kind.bad }.push("[]".to_owned());
        if let Some(words) = items["enum"].as_array() {
            kind.good.push(Value::from(&words[..2]).to_string());
        }
        kind
    }

    /// A number of dollars.
    fn amount(min: &Value, max: &Value) -> Self {
        let mut kind = kind(&["true", "\"1\"", "[]", "{}", "0", "-1", "1e300"], &[]);
        kind.bad.push((max.as_f64().unwrap() * 1.001).to_string());
        kind.good = vec![min.to_string(), max.to_string()];
        kind
    }

    /// The name of a model.
    fn model() -> Self {
        kind(&["5", "[]", "\"\"", "\"gpt-5\"", "\"openai:\"", "\" offline\""], &["\"offline\""])
    }

    /// The names of models. The tests' deployment allows the offline model alone.
    fn models(properties: &Value) -> Self {
        let mut kind = kind(&["5", "\"offline\"", "[]"], &["{}"]);
        let names = properties.as_object().unwrap().keys().map(|purpose| (purpose.clone(), "offline".into()));
        kind.good.push(Value::Object(names.collect()).to_string());
        kind
    }

    fn schedule() -> Self {
        Self::of_object(&[
            r#"{"expression": "rate(366 days)"}"#,
            r#"{"expression": " 0 0 29 2 * ", "timezone": "America/New_York"}"#,
        ])
    }

    /// An object, with valid ones.
    fn of_object(good: &[&str]) -> Self {
        kind(&["5", "\"x\"", "[]", "true"], good)
    }

    /// An object of integers.
    fn object(properties: &Value) -> Self {
        let mut kind = kind(&["5", "\"x\"", "[]"], &[]);
        for bound in ["minimum", "maximum"] {
            let fields = properties.as_object().unwrap().iter();
            let fields: Map<String, Value> =
                fields.map(|(name, schema)| (name.clone(), schema[bound].clone())).collect();
            kind.good.push(Value::Object(fields).to_string());
        }
        kind
    }

    /// A text of up to `max` characters; on one line unless `lines`.
    fn text(max: usize, may_be_empty: bool, lines: bool) -> Self {
        let mut kind = kind(
            &[
                "5",
                "true",
                "[]",
                "{}",
                r#"["x"]"#,
                // Control characters, escaped and as they are; halves of surrogate pairs.
                r#""a\u0000b""#,
                r#""\u0007""#,
                r#""\u001b[31m""#,
                r#""\u007f""#,
                r#""\u0085""#,
                "\"a\u{1}b\"",
                r#""\ud800""#,
                r#""\udc00""#,
                r#""\ude00\ud83d""#,
                r#""\ud83dx""#,
                r#""\x""#,
            ],
            &[r#""\ud83d\ude00""#, "\"\u{e9}abc\"", r#""'; DROP TABLE projects; --""#],
        );
        kind.bad.push(quoted(&"x".repeat(max + 1)));
        kind.bad.push(quoted(&"\u{1f600}".repeat(max + 1)));
        kind.good.push(quoted(&"x".repeat(max)));
        kind.good.push(quoted(&"\u{1f600}".repeat(max)));
        let blank = [r#""""#, r#"" ""#, "\"\u{2003}\""].map(str::to_owned);
        if may_be_empty { &mut kind.good } else { &mut kind.bad }.extend(blank);
        let lined = [r#""a\nb""#, r#""a\tb""#, r#""a\r\nb""#].map(str::to_owned);
        if lines { &mut kind.good } else { &mut kind.bad }.extend(lined);
        kind
    }

    fn criteria(max: usize) -> Self {
        let mut kind = Self::text(max, false, true);
        for check in [
            "check:",
            "check: agent",
            "check: agent says refund",
            "check: agent says /refund",
            "check: agent says /(/",
            "check: agent says //",
            "check: agent says /a/x",
            "check: agent says /(?=a)/",
            r"check: agent says /(a)\1/",
            "check: agent says /((((a{99}){99}){99}){99})/",
            "check: agent replies 6",
            "check: agent replies <= -1",
            "check: agent replies <= 1.5",
            "check: agent replies <= 99999999999",
            "check: somebody says /a/",
            "check: persona ended early",
            "CHECK: nonsense",
            "Is kind.\n  check: nonsense",
            &"check: persona ended\n".repeat(21),
        ] {
            kind.bad.push(quoted(check));
        }
        for check in [
            "check: agent says /refund/i",
            "Check: Persona Never Says /a\\/b/ims",
            "check: agent replies <= 6",
            "check: persona ended",
            "Not a check: agent says whatever",
            "Is kind.\ncheck: agent ended",
            &"check: persona ended\n".repeat(20),
        ] {
            kind.good.push(quoted(check));
        }
        kind
    }

    fn whole(min: u64, max: u64) -> Self {
        let mut kind = kind(
            &[
                "-1",
                "0.5",
                "1.5",
                "1e400",
                "-1e400",
                "1e30",
                "18446744073709551616",
                "\"5\"",
                "true",
                "[1]",
                "{}",
            ],
            &[],
        );
        if min > 0 {
            kind.bad.push((min - 1).to_string());
        }
        kind.bad.push((max + 1).to_string());
        kind.good = vec![min.to_string(), max.to_string(), format!("{min}.0"), format!("{max}e0")];
        kind
    }

    fn boolean() -> Self {
        kind(&["0", "1", "\"true\"", "[]", "{}"], &["true", "false"])
    }

    fn id() -> Self {
        let mut kind =
            kind(&["5", "true", "[]", "{}", r#""""#, r#""short""#, r#""has-a-hyphen""#, r#""\ud800""#], &[]);
        for text in ["a".repeat(11), "a".repeat(13), "é".repeat(6), "../../etc/pw".to_owned()] {
            kind.bad.push(quoted(&text));
        }
        kind
    }

    fn time() -> Self {
        let good = ["\"2026-01-05T09:00:00Z\"", "\"2026-01-05T09:00:00.123456789+02:00\""];
        kind(
            &["5", "true", "[]", "{}", "\"\"", "\"soon\"", "\"2026-01-05\"", "\"2026-13-05T09:00:00Z\""],
            &good,
        )
    }

    /// A list of one to `max` texts.
    fn list(text: &str, max: usize) -> Self {
        let of = |count: usize| Value::from(vec![text; count]).to_string();
        let mut kind = kind(&["5", "\"x\"", "{}", "true", "[]"], &[]);
        kind.bad.push(of(max + 1));
        kind.good = vec![of(1), of(max)];
        kind
    }

    fn metadata() -> Self {
        let object = |bytes: usize| json!({ "k": "x".repeat(bytes - r#"{"k":""}"#.len()) }).to_string();
        let mut kind = kind(&["5", "true", "\"{}\"", "[]"], &["{}", r#"{"a": {"b": [1, null, "\n"]}}"#]);
        kind.bad.push(object(16 * 1024 + 1));
        kind.good.push(object(16 * 1024));
        kind
    }
}
