//! Texts with references to environment variables.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A reference to a variable starts with this.
const START: &str = "${env:";

/// The maximum length in bytes, before references are replaced.
const MAX: usize = 4096;

/// A text in which `${env:NAME}` stands for an environment variable.
///
/// `Debug` prints the references, never the values.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct EnvText(Vec<Part>);

#[derive(Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl EnvText {
    /// Whether the text has no references.
    pub(crate) fn is_literal(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text with its references replaced, and the values that replaced them. Fails with the name of a
    /// variable that is not set.
    pub(crate) fn resolve(
        &self,
        variables: &mut dyn FnMut(&str) -> Option<String>,
    ) -> Result<Resolved, String> {
        let mut resolved = Resolved::default();
        for part in &self.0 {
            match part {
                Part::Text(text) => resolved.text.push_str(text),
                Part::Variable(name) => {
                    let value = variables(name).ok_or_else(|| name.clone())?;
                    resolved.text.push_str(&value);
                    resolved.secrets.push(value);
                }
            }
        }
        Ok(resolved)
    }
}

/// A text whose references were replaced.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) text: String,
    pub(crate) secrets: Vec<String>,
}

impl fmt::Display for EnvText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => formatter.write_str(text)?,
                Part::Variable(name) => write!(formatter, "{START}{name}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for EnvText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), formatter)
    }
}

impl TryFrom<String> for EnvText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > MAX {
            return Err(format!("must have at most {MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(START) {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{START}` has no closing brace; write `${{env:NAME}}`"))?;
            check_variable(name)?;
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self(parts))
    }
}

/// Checks the name of an environment variable.
pub(crate) fn check_variable(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || name.len() > 128 || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(format!(
            "`{}` is not the name of an environment variable",
            crate::excerpt::excerpt(name)
        ));
    }
    if !name.bytes().all(fits) {
        return Err(format!(
            "`{}` is not the name of an environment variable: use letters, digits and `_`",
            crate::excerpt::excerpt(name)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<EnvText, String> {
        EnvText::try_from(text.to_owned())
    }

    #[test]
    fn references_are_replaced_and_reported_as_secrets() {
        let text = parse("Bearer ${env:TOKEN}-${env:B}$ {x}").unwrap();
        let resolved = text.resolve(&mut |name| Some(format!("<{name}>"))).unwrap();
        assert_eq!(resolved.text, "Bearer <TOKEN>-<B>$ {x}");
        assert_eq!(resolved.secrets, ["<TOKEN>", "<B>"]);
        assert_eq!(text.to_string(), "Bearer ${env:TOKEN}-${env:B}$ {x}");
        assert!(!text.is_literal() && parse("plain").unwrap().is_literal());
    }

    #[test]
    fn missing_variable_is_named() {
        let text = parse("${env:TOKEN}").unwrap();
        assert_eq!(text.resolve(&mut |_| None).err().as_deref(), Some("TOKEN"));
    }

    #[test]
    fn malformed_reference_is_refused() {
        for text in ["${env:A", "${env:}", "${env:1A}", "${env:a-b}", "${env:é}", &"a".repeat(MAX + 1)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
