//! Carries the examples, benches and end-to-end tests of the latent-text crates. Its only code is the
//! allocator of those programs.

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The number of `mi_option_purge_delay`, which the bindings do not name.
const PURGE_DELAY: i32 = 15;

/// Lets a program keep the memory that it has freed, to use it again: the first call of its `main`.
///
/// On CPUs every tensor is a new stretch of memory. What goes back to the system in between comes again page
/// by page, filled with zeros, which takes up to half of the time of a training step.
pub fn keep_memory() {
    // SAFETY: this sets a number, which the allocator reads when it has something to give back.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_that_of_the_purge_delay() {
        // SAFETY: this reads a number.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        // Milliseconds, unless the environment says otherwise; no other option starts with this number.
        assert_eq!(delay(), 1000);
        keep_memory();
        assert_eq!(delay(), -1);
    }
}
