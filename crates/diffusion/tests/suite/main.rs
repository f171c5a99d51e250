//! Tests against golden files of the reference implementation and against closed forms.

mod gaussian;
mod losses;
mod noise;
mod predictions;
mod sampling;
mod schedules;
mod support;
