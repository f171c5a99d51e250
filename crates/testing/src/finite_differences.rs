use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::noise;
use crate::parameters::{shifted, slopes_along};

/// How far the loss is moved to both sides, along directions of norm 1.
const STEP: f32 = 0.02;

/// The directions in which a parameter is moved.
#[derive(Debug, Clone, Copy)]
pub enum Along {
    /// One that looks random.
    OneDirection,
    /// That of each of its values alone: for small modules.
    EveryValue,
}

impl Along {
    /// How many directions there are for a parameter of so many values.
    pub(crate) fn directions(self, values: usize) -> usize {
        match self {
            Self::OneDirection => 1,
            Self::EveryValue => values,
        }
    }

    /// A direction of norm 1.
    pub(crate) fn direction<const D: usize>(
        self,
        parameter: usize,
        place: usize,
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        match self {
            Self::OneDirection => {
                let direction = noise(1000 + parameter, shape, device);
                let norm: f32 = direction.clone().square().sum().sqrt().into_scalar();
                direction / norm
            }
            Self::EveryValue => {
                let mut values = vec![0.0; shape.iter().product()];
                values[place] = 1.0;
                Tensor::from_data(TensorData::new::<f32, _>(values, shape), device)
            }
        }
    }
}

/// The comparison of gradients with differences of losses, and how near they must be.
///
/// A loss of about 1 has f32 digits down to 1e-7, over a distance of 0.04.
#[derive(Debug, Clone, Copy)]
pub struct FiniteDifferences {
    /// The directions that are compared.
    pub along: Along,
    /// What the two may differ by, whatever their size.
    pub absolute: f32,
    /// What they may differ by beyond that, as a share of the gradient.
    pub relative: f32,
    /// More than this share of the gradients must be above ten times `absolute`, as smaller ones could be
    /// zero as well.
    pub telling: f32,
}

impl FiniteDifferences {
    /// Checks every parameter's gradient.
    ///
    /// `module` is on a device with autodiff; `loss` is called with it, and with shifted copies on the
    /// device without. Returns how many parameters have no gradient, which aren't compared.
    ///
    /// # Panics
    /// If a gradient is not the difference of two losses, or too few of them could be told from zero.
    #[must_use]
    #[track_caller]
    pub fn check<M: Module>(&self, module: &M, loss: impl Fn(&M, &Device) -> Tensor<1>) -> usize {
        let device = Device::default().autodiff();
        let slopes = slopes_along(module, &loss(module, &device).backward(), self.along);

        let (plain, device) = (module.valid(), device.without_autodiff());
        let at = |place, amount| {
            let shifted = shifted(plain.clone(), self.along, place, amount);
            loss(&shifted, &device).into_scalar::<f32>()
        };
        let mut compared = Vec::new();
        for (parameter, slopes) in slopes.iter().enumerate() {
            for (place, &slope) in slopes.iter().flatten().enumerate() {
                let place = (parameter, place);
                let difference = (at(place, STEP) - at(place, -STEP)) / (2.0 * STEP);
                let error = (slope - difference).abs();
                let bound = self.absolute + self.relative * slope.abs();
                assert!(error < bound, "{place:?}: {slope} against {difference}");
                compared.push(slope);
            }
        }
        let told_apart = compared.iter().filter(|slope| slope.abs() > 10.0 * self.absolute).count();
        assert!(told_apart as f32 > self.telling * compared.len() as f32, "{compared:?}");
        slopes.iter().filter(|slopes| slopes.is_none()).count()
    }
}
