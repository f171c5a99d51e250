use burn::tensor::{DType, Device, Distribution, Tensor};

/// What decides which elements a forward pass drops. Each place of a network that drops some is a
/// [site](Self::site) of it, with its own choice; the same seed and site drop the same again.
#[derive(Clone, Debug)]
pub struct DropoutSeed {
    /// `[1]`, uniform in [0, 1)
    seed: Tensor<1>,
    probability: f64,
}

/// A place that drops elements.
#[derive(Clone, Debug)]
pub struct DropoutSite {
    pub(crate) seed: Tensor<1>,
    pub(crate) rule: DropRule,
}

/// How often a kernel drops elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropRule {
    pub(crate) salt: u32,
    pub(crate) probability: f64,
}

impl DropoutSeed {
    /// Draws a seed from the device's generator, to drop elements with this probability in [0, 1). None
    /// where nothing is to be dropped: with probability 0, or without autodiff.
    pub fn draw(probability: f64, device: &Device) -> Option<Self> {
        if probability == 0.0 || !device.is_autodiff() {
            return None;
        }
        let device = device.clone().inner();
        let seed = Tensor::random([1], Distribution::Default, (&device, DType::F32));
        Some(Self { seed, probability })
    }

    /// The site with this number.
    pub fn site(&self, number: u32) -> DropoutSite {
        let rule = DropRule { salt: number, probability: self.probability };
        DropoutSite { seed: self.seed.clone(), rule }
    }
}

impl DropRule {
    pub(crate) const NONE: Self = Self { salt: 0, probability: 0.0 };

    pub(crate) fn of(site: Option<&DropoutSite>) -> Self {
        site.map_or(Self::NONE, |site| site.rule)
    }
}

#[cfg(any(feature = "cube", feature = "flex"))]
impl DropRule {
    pub(crate) fn drops(self) -> bool {
        self.probability > 0.0
    }

    /// Hashes below it are dropped.
    pub(crate) fn threshold(self) -> u32 {
        (self.probability * 2_f64.powi(32)) as u32
    }

    /// What is kept is multiplied with it, so that the mean stays.
    pub(crate) fn scale(self) -> f32 {
        (1.0 / (1.0 - self.probability)) as f32
    }
}
