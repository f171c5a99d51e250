use burn::tensor::{FloatDType, Tensor};
use latent_text_diffusion::{
    DiffusionError, Guidance, GuidanceContext, GuidancePair, GuidanceState, NoiseLevel,
};

const NAME: &str = "guidance of the caller's";

/// Guidance of the caller's, whose answers must have the right shape.
#[derive(Debug)]
pub(crate) struct OwnGuidance<G>(pub(crate) G);

impl<G: Guidance<3>> Guidance<3> for OwnGuidance<G> {
    fn check(&self) -> Result<(), DiffusionError> {
        self.0.check()
    }

    fn needs_unconditional(&self, level: NoiseLevel, step: usize) -> bool {
        self.0.needs_unconditional(level, step)
    }

    fn combine(
        &self,
        predictions: GuidancePair<3>,
        at: &GuidanceContext<3>,
        state: GuidanceState<3>,
    ) -> Result<(Tensor<3>, GuidanceState<3>), DiffusionError> {
        let expected = predictions.conditional.dims();
        let (output, state) = self.0.combine(predictions, at, state)?;
        check_shape("its prediction", &output, expected)?;
        if let Some(running) = &state.running {
            check_shape("what it remembers", running, expected)?;
        }
        Ok((output.cast(FloatDType::F32), state))
    }
}

fn check_shape(
    what: &'static str,
    tensor: &Tensor<3>,
    expected: [usize; 3],
) -> Result<(), DiffusionError> {
    let shape = tensor.dims();
    if shape == expected {
        return Ok(());
    }
    let (shape, expected) = (shape.to_vec(), expected.to_vec());
    Err(DiffusionError::GuidanceShape { guidance: NAME, what, shape, expected })
}
