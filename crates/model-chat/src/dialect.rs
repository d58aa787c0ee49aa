//! Which parameters a model accepts.

/// The parameters that requests to one model use. It starts with all of them, and loses each one that the
/// model's provider refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// How the schema of an answer is conveyed.
    pub structure: Structure,
    /// Whether a temperature is sent.
    pub temperature: bool,
    /// Whether a seed is sent.
    pub seed: bool,
    /// Whether the limit of tokens is named `max_completion_tokens` rather than `max_tokens`.
    pub completion_limit: bool,
}

/// How the schema of an answer is conveyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// By the provider's parameter for JSON schemas.
    Schema,
    /// As the input of a tool that the model must use. Not on OpenAI's wire.
    Tool,
    /// By the parameter for any JSON object, and in the instructions. Only on OpenAI's wire.
    Object,
    /// In the instructions alone.
    Prompt,
}

/// A parameter that a provider may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// The schema of the answer, in whatever form it was sent.
    Structure,
    /// The temperature.
    Temperature,
    /// The seed.
    Seed,
    /// The limit of tokens.
    Limit,
}

impl Dialect {
    /// Every dialect of a wire with this form of structured output between the schema and the prompt.
    pub(crate) fn all(fallback: Structure) -> impl Iterator<Item = Self> {
        let structures = [Structure::Schema, fallback, Structure::Prompt];
        structures.into_iter().flat_map(|structure| {
            (0..8).map(move |bits| Self {
                structure,
                temperature: bits & 1 == 0,
                seed: bits & 2 == 0,
                completion_limit: bits & 4 == 0,
            })
        })
    }

    /// The dialect without a parameter that was refused. `None` if it has no other form.
    ///
    /// `fallback` is the wire's form of structured output between the schema and the prompt.
    pub(crate) fn without(self, parameter: Parameter, fallback: Structure) -> Option<Self> {
        match parameter {
            Parameter::Structure => {
                let structure = match self.structure {
                    Structure::Schema => fallback,
                    Structure::Tool | Structure::Object => Structure::Prompt,
                    Structure::Prompt => return None,
                };
                Some(Self { structure, ..self })
            }
            Parameter::Temperature => self.temperature.then_some(Self { temperature: false, ..self }),
            Parameter::Seed => self.seed.then_some(Self { seed: false, ..self }),
            Parameter::Limit => Some(Self { completion_limit: !self.completion_limit, ..self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_falls_back_to_the_prompt() {
        let all =
            Dialect { structure: Structure::Schema, temperature: true, seed: true, completion_limit: false };
        let tool = all.without(Parameter::Structure, Structure::Tool).unwrap();
        assert_eq!(tool, Dialect { structure: Structure::Tool, ..all });
        let prompt = tool.without(Parameter::Structure, Structure::Tool).unwrap();
        assert_eq!(prompt, Dialect { structure: Structure::Prompt, ..all });
        assert_eq!(prompt.without(Parameter::Structure, Structure::Tool), None);
        let cold = all.without(Parameter::Temperature, Structure::Tool).unwrap();
        assert_eq!(cold.without(Parameter::Temperature, Structure::Tool), None);
    }
}
