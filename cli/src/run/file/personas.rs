//! The personas of a scenario: their number, or the personas themselves.

use std::{borrow::Cow, fmt, sync::Arc};

use onerun_client::resource::NewPersona;
use onerun_domain::{
    AgeGroup, ExplicitPersonas, PersonaAttributes, PersonaDetail, PersonaDraft, PersonaText,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Unexpected, Visitor},
};

use super::values::{Count, parsed};

/// The personas of a scenario.
#[derive(Clone, Debug)]
pub(crate) enum PersonasSpec {
    /// This many are generated.
    Generated(Count),
    /// The file has them: at least one.
    Explicit(Arc<[NewPersona]>),
}

impl<'de> Deserialize<'de> for PersonasSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = PersonasSpec;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, or a list of personas with `summary` and `purpose`")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<PersonasSpec, E> {
                Count::try_from(number).map(PersonasSpec::Generated).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<PersonasSpec, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PersonasSpec, A::Error> {
                let mut drafts = Vec::new();
                while let Some(persona) = list.next_element::<PersonaObject>()? {
                    drafts.push(persona.into());
                }
                let personas =
                    drafts.iter().map(new_persona).collect::<Result<_, _>>().map_err(A::Error::custom)?;
                ExplicitPersonas::parse(drafts).map_err(A::Error::custom)?;
                Ok(PersonasSpec::Explicit(personas))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// The persona as the API takes it, under the same names.
fn new_persona(draft: &PersonaDraft) -> serde_json::Result<NewPersona> {
    serde_json::from_value(serde_json::to_value(draft)?)
}

impl JsonSchema for PersonasSpec {
    fn schema_name() -> Cow<'static, str> {
        "Personas".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (count, persona) =
            (generator.subschema_for::<Count>(), generator.subschema_for::<PersonaObject>());
        json_schema!({
            "description": "The number of personas to generate, or the personas themselves.",
            "oneOf": [
                count,
                { "type": "array", "items": persona, "minItems": 1, "maxItems": ExplicitPersonas::MAX },
            ],
        })
    }
}

/// A person who talks to the agent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Persona")]
struct PersonaObject {
    /// The person in one sentence.
    #[serde(deserialize_with = "parsed::<PersonaText, _>")]
    #[schemars(with = "String", length(min = 1, max = 4_000))]
    summary: PersonaText,
    /// The background of the conversation: what the person knows.
    #[serde(default)]
    story: Detail,
    /// The person's goal in the conversation.
    #[serde(deserialize_with = "parsed::<PersonaText, _>")]
    #[schemars(with = "String", length(min = 1, max = 4_000))]
    purpose: PersonaText,
    /// Traits.
    #[serde(default)]
    attributes: AttributesObject,
}

/// Traits of a person. A trait that is left out is unknown.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Attributes")]
struct AttributesObject {
    /// The age: 13 to 19, 20 to 35, 36 to 55, or over 55 years.
    #[schemars(with = "Option<String>", extend("enum" = AgeGroup::ALL.map(AgeGroup::as_str)))]
    age_group: Option<AgeGroup>,
    speech_style: Detail,
    education: Detail,
    occupation: Detail,
    economic_status: Detail,
    personality_traits: Detail,
    values: Detail,
    habits: Detail,
    interests: Detail,
    speech_patterns: Detail,
    typical_behavior: Detail,
    stress_triggers: Detail,
    stress_reactions: Detail,
    /// The version of this list of traits.
    version: Option<Detail>,
}

/// A text of at most 4,000 characters, which may be empty.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(extend("maxLength" = PersonaDetail::MAX_LENGTH))]
struct Detail(String);

impl TryFrom<String> for Detail {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        PersonaDetail::parse(text).map(|text| Self(text.to_string())).map_err(|error| error.to_string())
    }
}

impl From<PersonaObject> for PersonaDraft {
    fn from(PersonaObject { summary, story, purpose, attributes }: PersonaObject) -> Self {
        Self {
            summary: summary.to_string(),
            story: story.0,
            purpose: purpose.to_string(),
            attributes: attributes.into(),
        }
    }
}

impl From<AttributesObject> for PersonaAttributes {
    fn from(object: AttributesObject) -> Self {
        Self {
            age_group: object.age_group.unwrap_or(AgeGroup::Adult),
            speech_style: object.speech_style.0,
            education: object.education.0,
            occupation: object.occupation.0,
            economic_status: object.economic_status.0,
            personality_traits: object.personality_traits.0,
            values: object.values.0,
            habits: object.habits.0,
            interests: object.interests.0,
            speech_patterns: object.speech_patterns.0,
            typical_behavior: object.typical_behavior.0,
            stress_triggers: object.stress_triggers.0,
            stress_reactions: object.stress_reactions.0,
            version: object.version.map_or_else(|| "1".to_owned(), |version| version.0),
        }
    }
}
