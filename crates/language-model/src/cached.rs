//! What decoding keeps between tokens, the same for all families.

mod cache;
mod projection;
mod seen;

pub(crate) use self::cache::DecoderCache;
pub(crate) use self::projection::{JoinedProjection, keys_values};
pub(crate) use self::seen::{Fixed, Newest, Room, Seen};
