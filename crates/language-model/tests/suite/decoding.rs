//! Decoding against `transformers`, on fixtures of `fixtures/decoding/make_decoding_fixtures.py`, and
//! what must hold for every search and every draw.

mod distributions;
mod fixture;
mod properties;
mod transformers;
