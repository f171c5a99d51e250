//! Which elements dropout drops: a hash of their place and a seed, so that the backward pass can ask again
//! and no mask is ever stored.

use cubecl::prelude::*;

/// The finaliser of MurmurHash3: all bits of the result depend on all bits of `x`.
#[cube]
fn mix(x: u32) -> u32 {
    let mut h = x;
    h ^= h >> 16u32;
    h *= 0x85eb_ca6bu32;
    h ^= h >> 13u32;
    h *= 0xc2b2_ae35u32;
    h ^= h >> 16u32;
    h
}

/// What the elements of a site with this `salt` start from; `seed` is a uniform random number.
#[cube]
pub(super) fn seed_of(seed: f32, salt: u32) -> u32 {
    mix(u32::reinterpret(seed) + salt * 0x9e37_79b9u32)
}

#[cube]
pub(super) fn is_kept(index: u32, start: u32, threshold: u32) -> bool {
    mix(index * 0x9e37_79b9u32 + start) >= threshold
}
