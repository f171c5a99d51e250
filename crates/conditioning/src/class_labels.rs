use std::collections::HashSet;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::{InvalidLabels, UnknownLabel};

/// The classes of a class-conditional model by name.
///
/// A class is its index in the list. The index behind the last one is the null class, which stands
/// for "any". Written as `{"names": [..]}`; what [`ClassLabels::new`] refuses is refused in a file
/// too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "LabelNames")]
pub struct ClassLabels {
    names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelNames {
    names: Vec<String>,
}

impl TryFrom<LabelNames> for ClassLabels {
    type Error = InvalidLabels;

    fn try_from(labels: LabelNames) -> Result<Self, InvalidLabels> {
        Self::new(labels.names)
    }
}

impl ClassLabels {
    /// Labels for the classes 0, 1, 2, ...
    ///
    /// # Errors
    /// [`InvalidLabels`] if there are none or two are the same.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, InvalidLabels> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(InvalidLabels::None);
        }
        let mut seen = HashSet::new();
        if let Some(label) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(InvalidLabels::Repeated { label: label.clone() });
        }
        Ok(Self { names })
    }

    /// The labels by class index, without the null class.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class with this label.
    ///
    /// # Errors
    /// [`UnknownLabel`] lists the labels that there are.
    pub fn index_of(&self, label: &str) -> Result<usize, UnknownLabel> {
        self.names
            .iter()
            .position(|name| name == label)
            .ok_or_else(|| UnknownLabel { label: label.to_string(), known: self.names.clone() })
    }

    /// The null class.
    pub fn null(&self) -> usize {
        self.names.len()
    }

    /// The classes of a training batch with each one replaced by the null class with
    /// `probability` (LD4LG: 0.1), independently of the others.
    pub fn drop_per_sample(
        &self,
        classes: &[usize],
        probability: f64,
        rng: &mut (impl Rng + ?Sized),
    ) -> Vec<usize> {
        let null = self.null();
        let mut drop = || rng.random::<f64>() < probability;
        classes.iter().map(|&class| if drop() { null } else { class }).collect()
    }

    /// The classes as a denoiser takes them, `[batch]`.
    ///
    /// # Panics
    /// If a class is beyond the null class.
    pub fn tensor(&self, classes: &[usize], device: &Device) -> Tensor<1, Int> {
        let indices = classes.iter().map(|&class| {
            assert!(class <= self.null(), "class {class} of {} and the null class", self.null());
            class as i64
        });
        Tensor::from_data(TensorData::new(indices.collect(), [classes.len()]), device)
    }
}
