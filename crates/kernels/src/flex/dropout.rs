//! Which elements dropout drops: the hash of the CubeCL kernels, so that no mask is ever stored.

/// The finaliser of MurmurHash3: all bits of the result depend on all bits of `x`.
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}

/// The dropout of one site in one pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dropping {
    start: u32,
    threshold: u32,
    scale: f32,
}

impl Dropping {
    /// Dropout of what hashes below `threshold`, others being multiplied with `scale`; `seed` is a uniform
    /// random number and `salt` tells sites apart.
    pub(super) fn new(seed: f32, salt: u32, threshold: u32, scale: f32) -> Self {
        let start = mix(seed.to_bits().wrapping_add(salt.wrapping_mul(0x9e37_79b9)));
        Self { start, threshold, scale }
    }

    /// What the element with this index is multiplied with.
    #[inline(always)]
    pub(super) fn factor(self, index: u32) -> f32 {
        let hash = mix(index.wrapping_mul(0x9e37_79b9).wrapping_add(self.start));
        if hash >= self.threshold { self.scale } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_dropped_and_the_mean_is_kept() {
        let threshold = (0.1 * f64::from(u32::MAX)) as u32;
        let dropping = Dropping::new(0.37, 5, threshold, 1.0 / 0.9);
        let count = 1 << 18;
        let mean =
            (0..count).map(|i| f64::from(dropping.factor(i))).sum::<f64>() / f64::from(count);
        assert!((mean - 1.0).abs() < 3e-3, "{mean}");
    }
}
