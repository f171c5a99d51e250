use serde_json::Value;

/// A template that puts tokens around texts which it does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("the post-processor has no ids for its token {0}")]
    Token(String),
    #[error("the post-processor asks for a second text where there is one")]
    SecondText,
}

/// Checks the templates of a `tokenizer.json`, as the `tokenizers` crate trusts them.
pub(super) fn check(post_processor: &Value) -> Result<(), TemplateError> {
    for part in items(post_processor.get("processors")) {
        check(part)?;
    }
    for piece in items(post_processor.get("single")) {
        if piece.pointer("/Sequence/id").is_some_and(|id| id != "A") {
            return Err(TemplateError::SecondText);
        }
        let Some(id) = piece.pointer("/SpecialToken/id") else { continue };
        let tokens = post_processor.get("special_tokens");
        let known = id.as_str().and_then(|id| tokens.and_then(|tokens| tokens.get(id)));
        if known.is_none() {
            return Err(TemplateError::Token(id.to_string()));
        }
    }
    Ok(())
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_need_ids_for_their_tokens() {
        let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        let template = |single: Value| {
            let tokens = json!({"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}});
            json!({"type": "TemplateProcessing", "single": single, "special_tokens": tokens})
        };
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        assert_eq!(check(&template(json!([text, piece("</s>")]))), Ok(()));
        let unknown = template(json!([text, piece("<s>")]));
        assert_eq!(check(&unknown), Err(TemplateError::Token("\"<s>\"".to_string())));
        let nested = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, unknown]});
        assert_eq!(check(&nested), Err(TemplateError::Token("\"<s>\"".to_string())));
        let second = json!([{"Sequence": {"id": "B", "type_id": 0}}]);
        assert_eq!(check(&template(second)), Err(TemplateError::SecondText));
    }
}
