//! What a thread remembers of recordings that failed. Most often its graphs use a model of another thread, and
//! then none of them can be recorded.

use std::cell::RefCell;

use burn::tensor::Device;

/// A single recording may have failed for what other threads did meanwhile.
const TOO_MANY: usize = 3;

thread_local! {
    /// How many have failed on each device since one succeeded.
    static FAILED: RefCell<Vec<(Device, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Whether it is no use to try again on this thread.
pub(super) fn are_too_many(device: &Device) -> bool {
    FAILED.with_borrow(|all| all.iter().any(|(on, failed)| on == device && *failed >= TOO_MANY))
}

/// Notes that a recording has failed.
pub(super) fn add(device: &Device) {
    FAILED.with_borrow_mut(|all| match all.iter_mut().find(|(on, _)| on == device) {
        Some((_, failed)) => *failed += 1,
        None => all.push((device.clone(), 1)),
    });
}

/// Notes that a recording has succeeded.
pub(super) fn clear(device: &Device) {
    FAILED.with_borrow_mut(|all| all.retain(|(on, _)| on != device));
}
