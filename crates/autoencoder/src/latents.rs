use std::ops::Range;

use burn::tensor::{Bool, FloatDType, Tensor};

use crate::AutoencoderError;

/// The latents of a batch of texts.
#[derive(Clone, Debug)]
pub struct Latents {
    /// The vectors, `[texts, latents, latent_dim]`.
    pub values: Tensor<3>,
    /// Which vectors are real, `[texts, latents]`, where texts have them in different numbers: the first
    /// ones of each text, at least one. None means all. The values of the others mean nothing.
    pub mask: Option<Tensor<2, Bool>>,
}

impl Latents {
    /// Number of texts.
    pub fn texts(&self) -> usize {
        self.values.dims()[0]
    }

    /// Those of some of the texts.
    ///
    /// # Panics
    /// If there are fewer texts.
    pub fn of_texts(self, texts: Range<usize>) -> Self {
        Self {
            values: self.values.slice(texts.clone()),
            mask: self.mask.map(|mask| mask.slice(texts)),
        }
    }

    /// The same with other values, made from these.
    pub fn map(self, values: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Self {
        Self { values: values(self.values), mask: self.mask }
    }

    /// How many latents of each text are real. Waits for the device if there is a mask.
    ///
    /// # Errors
    /// [`AutoencoderError::Device`] if the mask can't be read.
    pub fn lengths(&self) -> Result<Vec<usize>, AutoencoderError> {
        let [texts, latents, _] = self.values.dims();
        let Some(mask) = &self.mask else { return Ok(vec![latents; texts]) };
        let lengths = mask.clone().int().sum_dim(1).try_into_vec_as::<i64>();
        let lengths = lengths.map_err(|error| AutoencoderError::Device(error.to_string()))?;
        Ok(lengths.into_iter().map(|length| length as usize).collect())
    }

    /// The real vectors of each text one behind the other, in f32. Waits for the device.
    ///
    /// # Errors
    /// [`AutoencoderError::Device`] if they can't be read.
    pub fn real_values(&self) -> Result<Vec<Vec<f32>>, AutoencoderError> {
        let [_, latents, dim] = self.values.dims();
        let lengths = self.lengths()?;
        let values = self.values.clone().cast(FloatDType::F32).try_into_vec_as::<f32>();
        let values = values.map_err(|error| AutoencoderError::Device(error.to_string()))?;
        let of_text = |(text, length): (&[f32], usize)| text[..length * dim].to_vec();
        Ok(values.chunks(latents * dim).zip(lengths).map(of_text).collect())
    }
}

/// Latents of which all are real.
impl From<Tensor<3>> for Latents {
    fn from(values: Tensor<3>) -> Self {
        Self { values, mask: None }
    }
}
