use std::sync::atomic::{AtomicBool, Ordering};

static IS_ALLOWED: AtomicBool = AtomicBool::new(false);

/// Whether this process computes products of f32 that begin from now on in TF32, on cards that have it (not
/// unless allowed): factors are rounded to ten binary digits, sums stay f32.
pub fn allow_tf32(allowed: bool) {
    IS_ALLOWED.store(allowed, Ordering::Relaxed);
}

pub(crate) fn is_allowed() -> bool {
    IS_ALLOWED.load(Ordering::Relaxed)
}
