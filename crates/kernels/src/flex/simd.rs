//! Loops compiled for several instruction sets, the best of which is picked at run time.

/// `a * b + c`, rounded once where the instruction exists.
///
/// Without it `f32::mul_add` would be a slow call into the C library.
#[inline(always)]
pub(super) fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` to 2 ulp, 0 below -87, no number for none; a polynomial (Cephes' `expf`) that vectorises. `x` is at
/// most 88.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    /// Adding it rounds to whole numbers and leaves them in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];

    // Not `max`, which passes over what is no number.
    let clamped = if x < -87.0 { -87.0 } else { x };
    let rounded = mul_add::<FMA>(clamped, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = mul_add::<FMA>(-n, LN_2_HIGH, clamped);
    let r = mul_add::<FMA>(-n, LN_2_LOW, r);
    let mut y = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        y = mul_add::<FMA>(y, r, *coefficient);
    }
    let y = mul_add::<FMA>(y, r * r, r) + 1.0;
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < -87.0 { 0.0 } else { y * power }
}

/// Partial sums that a reduction keeps, so that it vectorises.
pub(super) const LANES: usize = 32;

/// The sum of products of two equally long slices, in an order of its own that is always the same.
#[inline(always)]
pub(super) fn lane_sum<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = mul_add::<FMA>(a[i], b[i], lanes[i]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = mul_add::<FMA>(*a, *b, *lane);
    }
    total(lanes)
}

/// The sum of all lanes.
#[inline(always)]
pub(super) fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The instruction sets that loops are compiled for, from the least on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// What every processor of the target has.
    Any,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

/// The best level of this processor. The answer is kept by the standard library.
#[inline]
pub(super) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx2 && avx512 {
            return Level::Avx512;
        }
        if avx2 {
            return Level::Avx2;
        }
    }
    Level::Any
}

/// Whether the target's own instruction set has a fused multiply-add.
pub(super) const TARGET_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// Defines functions whose body is compiled for each [`Level`]. The body is generic over `FMA`, for
/// [`mul_add`]; what it calls must be `#[inline(always)]` to be compiled with it.
macro_rules! vectorized {
    ($(
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident<const $fma:ident: bool>($($argument:ident: $type:ty),* $(,)?)
        $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "some have more than seven, others not")]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<const $fma: bool>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                body::<true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                body::<true>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::flex::simd::level() {
                // SAFETY: the processor has the instructions.
                $crate::flex::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                // SAFETY: the processor has the instructions.
                $crate::flex::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                $crate::flex::simd::Level::Any => {}
            }
            body::<{ $crate::flex::simd::TARGET_FMA }>($($argument),*)
        }
    )*};
}

pub(super) use vectorized;

#[cfg(test)]
mod tests {
    use super::*;

    vectorized! {
        fn exponentials<const FMA: bool>(values: &mut [f32]) {
            for value in values {
                *value = exp::<FMA>(*value);
            }
        }
    }

    #[test]
    fn the_exponential_is_as_good_as_its_type() {
        let inputs: Vec<f32> = (0..200_000).map(|i| i as f32 * 8e-4 - 80.0).collect();
        let mut outputs = inputs.clone();
        exponentials(&mut outputs);
        let plain = inputs.iter().map(|&x| exp::<false>(x));
        for ((&x, &y), plain) in inputs.iter().zip(&outputs).zip(plain) {
            let expected = f64::from(x).exp();
            for found in [y, plain] {
                assert!((f64::from(found) / expected - 1.0).abs() < 2.5e-7, "{x}: {found}");
            }
        }
        let mut ends = [0.0, -1e30, f32::NEG_INFINITY, -88.0];
        exponentials(&mut ends);
        assert_eq!(ends, [1.0, 0.0, 0.0, 0.0]);
        let mut unknown = [f32::NAN];
        exponentials(&mut unknown);
        assert!(unknown[0].is_nan());
    }
}
