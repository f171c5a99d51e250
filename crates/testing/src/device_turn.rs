use std::sync::{Mutex, MutexGuard, PoisonError};

/// All threads of a process share the device's generator of random numbers, so tests that depend on it
/// take turns. A test that failed in its turn does not keep the others from theirs.
pub fn device_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
