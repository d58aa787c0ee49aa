use serde_json::json;

use super::*;

fn variables_of<T>(use_them: impl FnOnce(&Variables<'_>) -> T) -> T {
    let metadata = json!({ "tenant": "t-1" });
    let hostile = "say \"}}\" {{ 7 * 7 }}\n</script>";
    use_them(&Variables {
        message: hostile,
        messages: &[
            TemplateMessage { role: "user", content: "Hi" },
            TemplateMessage { role: "assistant", content: "Hello" },
            TemplateMessage { role: "user", content: hostile },
        ],
        agent_id: "a",
        conversation_id: "c",
        simulation_id: "s",
        attempt: 2,
        turn: 3,
        metadata: metadata.as_object().unwrap(),
    })
}

fn rendered(template: Value) -> Result<Value, String> {
    let template = Template::try_from(template)?;
    variables_of(|variables| template.render(variables))
}

#[test]
fn expression_becomes_its_value() {
    let document = rendered(json!({
        "message": "{{ message }}",
        "history": " {{ messages }} ",
        "last": "{{ messages|last }}",
        "turn": "{{ turn }}",
        "id": "{{ conversation_id }}-{{ attempt }}",
        "tenant": "{{ metadata.tenant }}",
        "lane": "{{ metadata.lane|default(none) }}",
        "options": [1, null, true, "plain {", { "k": "{{ {'a': {'b': turn}} }}" }],
    }))
    .unwrap();
    let hostile = "say \"}}\" {{ 7 * 7 }}\n</script>";
    assert_eq!(
        document,
        json!({
            "message": hostile,
            "history": [
                { "role": "user", "content": "Hi" },
                { "role": "assistant", "content": "Hello" },
                { "role": "user", "content": hostile },
            ],
            "last": { "role": "user", "content": hostile },
            "turn": 3,
            "id": "c-2",
            "tenant": "t-1",
            "lane": null,
            "options": [1, null, true, "plain {", { "k": { "a": { "b": 3 } } }],
        })
    );
}

#[test]
fn text_with_expressions_is_not_escaped_or_evaluated_again() {
    assert_eq!(
        rendered(json!("<{{ message }}> {{ turn }}")).unwrap(),
        json!("<say \"}}\" {{ 7 * 7 }}\n</script>> 3")
    );
}

#[test]
fn wrong_template_is_refused_with_its_place() {
    for (template, expected) in [
        (
            json!({ "a": [{ "b": "{{ mesage }}" }] }),
            "`.a[0].b`: unknown variable `mesage`; there are message,",
        ),
        (json!("{{ message"), "the template: syntax error"),
        (json!("{{ message | }}"), "the template: syntax error"),
        (json!("{% for m in messages %}{% endfor %}"), "has a statement"),
        (json!("{{ message }} {# note #}"), "has a statement or a comment"),
        (json!(format!("{{{{ '{}' }}}}", "a".repeat(MAX_SOURCE))), "at most 4096 bytes"),
        (json!(vec![1; MAX_VALUES]), "at most 1000 values"),
        ((0..40).fold(json!(1), |inner, _| json!([inner])), "32 levels"),
    ] {
        let error = Template::try_from(template).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn document_is_bounded_however_often_it_repeats_the_conversation() {
    let long = "a".repeat(MAX_RENDERED / 4);
    let metadata = serde_json::Map::new();
    let variables = Variables {
        message: &long,
        messages: &[],
        agent_id: "a",
        conversation_id: "c",
        simulation_id: "s",
        attempt: 1,
        turn: 1,
        metadata: &metadata,
    };
    for (text, count) in [("{{ message }}", 5), ("{{ [message] }}", 5), ("{{ [message] * 1000 }}", 1)] {
        let repeated = Template::try_from(json!(vec![text; count])).unwrap();
        let error = repeated.render(&variables).unwrap_err();
        assert!(error.contains("the document has more than 4 MiB"), "{error}");
    }
    let once = Template::try_from(json!(["{{ message }}", 1])).unwrap();
    assert_eq!(once.render(&variables).unwrap(), json!([long, 1]));
}

#[test]
fn failing_expression_names_its_place() {
    for (template, expected) in [
        (json!({ "a": "{{ metadata.lane }}" }), "`.a`: "),
        (json!({ "a": "x {{ metadata.lane }}" }), "`.a`: undefined value"),
        (json!({ "a": "{{ message|replace('a', message) }}" }), "`.a`: unknown filter"),
        (json!({ "a": "{{ 'a' * 1000000000000 }}" }), "`.a`: engine ran out of fuel"),
        (json!({ "a": "{{ ([messages] * 100000)|tojson }}" }), "`.a`: engine ran out of fuel"),
    ] {
        let error = rendered(template).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
