/// A label that the model was not trained with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model has no class `{label}`; it knows {}", quoted(.known))]
#[non_exhaustive]
pub struct UnknownLabel {
    /// The label asked for.
    pub label: String,
    /// All labels that there are, by index.
    pub known: Vec<String>,
}

/// Names that can't serve as class labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLabels {
    /// There are none; an unconditional model has no [`ClassLabels`](crate::ClassLabels).
    #[error("a class-conditional model needs at least one class label")]
    None,
    /// Two classes have one name.
    #[error("the class label `{label}` occurs twice; labels must differ")]
    Repeated {
        /// The name.
        label: String,
    },
}

fn quoted(labels: &[String]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}
