use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_text_diffusion::{
    DiffusionError, Guidance, GuidanceContext, GuidancePair, GuidanceState, NoiseLevel,
};

/// Guidance that is shown nothing but the real latents of each sample: rows of the same length are
/// guided together, without padding.
#[derive(Debug)]
pub(crate) struct RealGuidance<'a> {
    groups: Vec<Group<'a>>,
    /// Where each row stands when the groups stand one behind the other, `[rows]`.
    places: Tensor<1, Int>,
}

/// Rows of the same length.
#[derive(Debug)]
struct Group<'a> {
    guidance: Box<dyn Guidance<3> + 'a>,
    length: usize,
    /// `[rows of the group]`
    rows: Tensor<1, Int>,
}

impl<'a> RealGuidance<'a> {
    /// For rows of these lengths, on `device`. `guidance` makes what guides some rows of a length.
    pub(crate) fn new<E>(
        lengths: &[usize],
        device: &Device,
        mut guidance: impl FnMut(&[usize], usize) -> Result<Box<dyn Guidance<3> + 'a>, E>,
    ) -> Result<Self, E> {
        let indices = |indices: &[usize]| {
            let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
            let count = indices.len();
            Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), device)
        };
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&row| lengths[row]);
        let mut places = vec![0; lengths.len()];
        for (place, &row) in order.iter().enumerate() {
            places[row] = place;
        }
        let groups = order
            .chunk_by(|&one, &other| lengths[one] == lengths[other])
            .map(|rows| {
                let length = lengths[rows[0]];
                Ok(Group { guidance: guidance(rows, length)?, length, rows: indices(rows) })
            })
            .collect::<Result<_, E>>()?;
        Ok(Self { groups, places: indices(&places) })
    }

    /// What the groups gave, in the order of the rows and with zeros behind the real latents.
    fn together(&self, parts: Vec<Tensor<3>>, latents: usize) -> Tensor<3> {
        let padded = parts.into_iter().map(|part| {
            let [rows, length, dim] = part.dims();
            match latents - length {
                0 => part,
                padding => {
                    let zeros = Tensor::zeros([rows, padding, dim], (&part.device(), part.dtype()));
                    Tensor::cat(vec![part, zeros], 1)
                }
            }
        });
        Tensor::cat(padded.collect(), 0).select(0, self.places.clone())
    }
}

impl Group<'_> {
    fn of(&self, x: &Tensor<3>) -> Tensor<3> {
        x.clone().select(0, self.rows.clone()).narrow(1, 0, self.length)
    }
}

impl Guidance<3> for RealGuidance<'_> {
    fn check(&self) -> Result<(), DiffusionError> {
        self.groups.iter().try_for_each(|group| group.guidance.check())
    }

    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool {
        self.groups.iter().any(|group| group.guidance.needs_unconditional(level, step))
    }

    fn combine(
        &self,
        predictions: GuidancePair<3>,
        at: &GuidanceContext<3>,
        state: GuidanceState<3>,
    ) -> Result<(Tensor<3>, GuidanceState<3>), DiffusionError> {
        let [_, latents, _] = predictions.conditional.dims();
        let mut guided = Vec::with_capacity(self.groups.len());
        let mut states = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let pair = GuidancePair {
                conditional: group.of(&predictions.conditional),
                unconditional: predictions.unconditional.as_ref().map(|x| group.of(x)),
            };
            let at = GuidanceContext { z: group.of(&at.z), ..at.clone() };
            let state = GuidanceState { running: state.running.as_ref().map(|x| group.of(x)) };
            let (output, state) = group.guidance.combine(pair, &at, state)?;
            guided.push(output);
            states.push(state.running);
        }
        let running = states.iter().any(Option::is_some).then(|| {
            let nothing = |guided: &Tensor<3>| guided.zeros_like();
            let part = |(state, guided)| Option::unwrap_or_else(state, || nothing(guided));
            self.together(states.into_iter().zip(&guided).map(part).collect(), latents)
        });
        Ok((self.together(guided, latents), GuidanceState { running }))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;
    use latent_text_diffusion::Prediction;
    use latent_text_diffusion::guidance::{AdaptiveProjected, Rescaled};

    use super::*;

    /// Two steps of a guidance with memory.
    fn guided(
        guidance: &dyn Guidance<3>,
        [z, conditional, unconditional]: &[Tensor<3>; 3],
    ) -> Vec<Tensor<3>> {
        let at = GuidanceContext {
            level: NoiseLevel::from_log_snr(0.5),
            z: z.clone(),
            prediction: Prediction::V,
            step: 1,
            steps: 2,
        };
        let mut state = GuidanceState::default();
        let step = |_| {
            let (conditional, unconditional) = (conditional.clone(), Some(unconditional.clone()));
            let pair = GuidancePair { conditional, unconditional };
            let (output, after) = guidance.combine(pair, &at, std::mem::take(&mut state)).unwrap();
            state = after;
            output
        };
        (0..2).map(step).collect()
    }

    #[test]
    fn every_row_is_guided_as_if_it_were_alone() {
        let device = Device::default();
        device.seed(1);
        let lengths = [3, 5, 1, 3, 4];
        let random = |_| Tensor::<3>::random([5, 5, 2], Distribution::Normal(1.0, 2.0), &device);
        let tensors = [0, 1, 2].map(random);
        let inner =
            AdaptiveProjected { scale: 3.0, eta: 0.3, norm_threshold: Some(4.0), momentum: 0.5 };
        let inner = Rescaled { inner, phi: 0.7 };
        let real = RealGuidance::new(&lengths, &device, |rows, length| {
            assert!(rows.iter().all(|&row| lengths[row] == length));
            Ok::<_, ()>(Box::new(inner))
        });
        let found = guided(&real.unwrap(), &tensors);
        for (row, length) in lengths.into_iter().enumerate() {
            let alone =
                tensors.each_ref().map(|x| x.clone().narrow(0, row, 1).narrow(1, 0, length));
            for (found, expected) in found.iter().zip(guided(&inner, &alone)) {
                let found = found.clone().narrow(0, row, 1);
                let real = found.clone().narrow(1, 0, length);
                let error: f32 = (real - expected).abs().max().into_scalar();
                assert!(error < 1e-5, "row {row}: {error}");
                if length < 5 {
                    let padding = found.narrow(1, length, 5 - length);
                    assert_eq!(padding.abs().max().into_scalar::<f32>(), 0.0);
                }
            }
        }
    }
}
