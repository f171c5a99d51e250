use latent_text_autoencoder::Latents;

use crate::masking::without_padding;
use crate::{GenerationError, LatentText};

impl LatentText {
    /// Latents that come from outside, with nothing in their padding.
    pub(crate) fn checked(&self, x0: Latents) -> Result<Latents, GenerationError> {
        self.check_shape(&x0)?;
        self.check_mask(&x0)?;
        let values = x0.real_values()?;
        let finite = |text: &Vec<f32>| text.iter().all(|value| value.is_finite());
        if let Some(text) = values.iter().position(|text| !finite(text)) {
            return Err(GenerationError::Latents(format!(
                "those of text {text} (counted from 0) hold a value that is no finite number"
            )));
        }
        Ok(without_padding(x0))
    }

    fn check_shape(&self, x0: &Latents) -> Result<(), GenerationError> {
        let shape = x0.values.dims();
        let [texts, latents, dim] = shape;
        let (most, width) = (self.autoencoder.max_latents(), self.autoencoder.latent_dim());
        let varying = self.autoencoder.has_varying_lengths();
        let fits = if varying { (1..=most).contains(&latents) } else { latents == most };
        if texts > 0 && fits && dim == width {
            return Ok(());
        }
        let up_to = if varying { "up to " } else { "" };
        refuse(format!(
            "they have the shape {shape:?}, the model has [texts, {up_to}{most}, {width}]"
        ))
    }

    fn check_mask(&self, x0: &Latents) -> Result<(), GenerationError> {
        let Some(mask) = &x0.mask else { return Ok(()) };
        let [texts, latents, _] = x0.values.dims();
        if !self.autoencoder.has_varying_lengths() {
            return refuse("they have a mask, but all latents of the model are real".to_string());
        }
        if mask.dims() != [texts, latents] {
            return refuse(format!(
                "their mask has the shape {:?}, it must be {:?}",
                mask.dims(),
                [texts, latents]
            ));
        }
        let real: Vec<f32> = self.read(mask.clone().float())?;
        let starts = |text: &[f32]| text[0] == 1.0 && text.is_sorted_by(|one, next| one >= next);
        match real.chunks(latents).position(|text| !starts(text)) {
            None => Ok(()),
            Some(text) => refuse(format!(
                "the mask of text {text} (counted from 0) must show its first latents, at least one"
            )),
        }
    }
}

fn refuse(problem: String) -> Result<(), GenerationError> {
    Err(GenerationError::Latents(problem))
}
