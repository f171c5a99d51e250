//! Tests against golden files of the reference implementation and against closed forms.

mod convergence;
mod gaussian;
mod guidance;
mod library_fixtures;
mod losses;
mod mixture;
mod noise;
mod predictions;
mod properties;
mod sampling;
mod schedules;
mod spacing;
mod support;
mod times;
mod weights;
