//! The beta distribution's quantiles, in f64.

use std::f64::consts::PI;

use crate::schedule::curve::bisect;

/// Terms of the continued fraction, more than it ever needs for parameters up to 100.
const TERMS: usize = 200;

/// Lanczos' approximation of the gamma function with `g = 7` and nine terms.
const LANCZOS_G: f64 = 7.0;
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// Where the distribution function of the beta distribution reaches `probability`, in [0, 1].
pub(super) fn quantile(probability: f64, a: f64, b: f64) -> f64 {
    if probability <= 0.0 {
        return 0.0;
    }
    if probability >= 1.0 {
        return 1.0;
    }
    bisect(|x| regularised(x, a, b) < probability)
}

/// The regularised incomplete beta function `I_x(a, b)` for `x` in (0, 1).
fn regularised(x: f64, a: f64, b: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - regularised_below_mode(1.0 - x, b, a);
    }
    regularised_below_mode(x, a, b)
}

fn regularised_below_mode(x: f64, a: f64, b: f64) -> f64 {
    let log_beta = ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    let front = (a * x.ln() + b * (-x).ln_1p() - log_beta).exp() / a;
    front / fraction(x, a, b)
}

/// `1 + d1 / (1 + d2 / (1 + ..))`, the continued fraction of the incomplete beta function, from its
/// far end.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let coefficient = |term: usize| {
        let m = (term / 2) as f64;
        let at = a + 2.0 * m;
        if term.is_multiple_of(2) {
            m * (b - m) * x / ((at - 1.0) * at)
        } else {
            -(a + m) * (a + b + m) * x / (at * (at + 1.0))
        }
    };
    (1..=TERMS).rev().fold(1.0, |tail, term| 1.0 + coefficient(term) / tail)
}

fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        return (PI / (PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let terms = LANCZOS.iter().enumerate().skip(1);
    let sum: f64 = LANCZOS[0] + terms.map(|(i, c)| c / (x + i as f64)).sum::<f64>();
    let base = x + LANCZOS_G + 0.5;
    0.5 * (2.0 * PI).ln() + (x + 0.5) * base.ln() - base + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_equal_closed_forms() {
        for i in 1..100 {
            let p = f64::from(i) / 100.0;
            // Uniform; a power; the arcsine distribution; and x^2 (3 - 2 x) = p.
            assert!((quantile(p, 1.0, 1.0) - p).abs() < 1e-14);
            assert!((quantile(p, 40.0, 1.0) - p.powf(1.0 / 40.0)).abs() < 1e-13);
            assert!((quantile(p, 1.0, 40.0) - (1.0 - (1.0 - p).powf(1.0 / 40.0))).abs() < 1e-13);
            let arcsine = (p * PI / 2.0).sin().powi(2);
            assert!((quantile(p, 0.5, 0.5) - arcsine).abs() < 1e-13);
            let x = quantile(p, 2.0, 2.0);
            assert!((x * x * (3.0 - 2.0 * x) - p).abs() < 1e-13);
        }
        assert_eq!((quantile(0.0, 0.6, 0.6), quantile(1.0, 0.6, 0.6)), (0.0, 1.0));
    }

    #[test]
    fn quantiles_of_both_tails_mirror_each_other() {
        for (a, b) in [(0.05, 0.05), (0.6, 0.6), (0.3, 5.0), (100.0, 100.0), (100.0, 0.05)] {
            let quantiles: Vec<f64> =
                (0..=50).map(|i| quantile(f64::from(i) / 50.0, a, b)).collect();
            assert!(quantiles.is_sorted(), "{a} {b}");
            for (i, x) in quantiles.iter().enumerate() {
                let mirrored = 1.0 - quantile(1.0 - i as f64 / 50.0, b, a);
                assert!((x - mirrored).abs() < 1e-12, "{a} {b} {i}: {x} {mirrored}");
            }
        }
    }
}
